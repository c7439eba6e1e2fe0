"""Waiting for jobs to settle or park: one subscription for all who wait in this process.

Never missed: whoever waits stands on the list before the record is read, and the record is read
again every few seconds, whatever the subscription has seen.
"""

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import Any, Final, cast

import structlog
from redis.exceptions import RedisError

from jobs.states import AT_REST
from worker.app.actions import NoSuchJob
from worker.store import Store

log: Final = structlog.get_logger(__name__)

RECHECK_S: Final = 3.0
"""How often the record of a waited-for job is read again."""

LISTEN_S: Final = 5.0
"""How long one look into the channel may take."""

RECONNECT_S: Final = 0.5
SUBSCRIBE_WITHIN_S: Final = 1.0


class Waiters:
    """Those who wait, by the job they wait for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listening = asyncio.Event()
        self._closed = False

    async def until_at_rest(
        self, job_id: str, timeout_s: float, is_wanted: Callable[[], bool]
    ) -> None:
        """Return when the job is settled or parked, time is up, or nobody wants to know any more.

        Raises `NoSuchJob` and what Redis raises.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        with self._on_the_list(job_id) as news:
            await _within(self._listening, min(timeout_s, SUBSCRIBE_WITHIN_S))
            while True:
                news.clear()  # before the read: what happens after it, sets it again
                stored = await self._store.jobs.load(job_id)
                if stored is None:
                    raise NoSuchJob(job_id)
                left = deadline - clock()
                if stored.job.state in AT_REST or left <= 0 or self._closed or not is_wanted():
                    return
                await _within(news, min(left, RECHECK_S))

    @contextlib.contextmanager
    def _on_the_list(self, job_id: str) -> Generator[asyncio.Event]:
        news = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(news)
        try:
            yield news
        finally:
            others = self._waiting[job_id]
            others.discard(news)
            if not others:
                del self._waiting[job_id]

    async def listen(self) -> None:
        """Pass on what the channel says, for ever; while Redis is away the rereading has to do."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("subscription.lost", error=type(error).__name__)
            finally:
                self._listening.clear()
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        channel = cast("Any", self._store.client.redis).pubsub()
        try:
            await channel.subscribe(self._store.keys.rested)
            while True:
                message = await channel.get_message(timeout=LISTEN_S)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._listening.set()
                elif message["type"] == "message":
                    for job_id in message["data"].decode().split():
                        self._tell(job_id)
        finally:
            await channel.aclose()

    def _tell(self, job_id: str) -> None:
        for news in self._waiting.get(job_id, ()):
            news.set()

    def close(self) -> None:
        """Let everybody go, with what is known now."""
        self._closed = True
        for job_id in self._waiting:
            self._tell(job_id)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
