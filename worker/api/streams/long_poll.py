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

from jobs.states import SETTLED_OR_PARKED
from worker.app.actions import NoSuchJob
from worker.store import Store
from worker.store.jobs import UnreadableRecord

log: Final = structlog.get_logger(__name__)

RECHECK_INTERVAL_S: Final = 3.0
"""How often the record of a waited-for job is read again."""

MESSAGE_TIMEOUT_S: Final = 5.0
"""How long one look into the channel may take."""

RECONNECT_DELAY_S: Final = 0.5
SUBSCRIBE_TIMEOUT_S: Final = 1.0


class LongPolls:
    """Those who wait, by the job they wait for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events_by_job: dict[str, set[asyncio.Event]] = {}
        self._subscribed = asyncio.Event()
        self._is_closed = False

    async def wait_until_settled_or_parked(
        self, job_id: str, timeout_s: float, is_client_connected: Callable[[], bool]
    ) -> None:
        """Return when the job is settled or parked, time is up, or nobody wants to know any more.

        Raises `NoSuchJob` and what Redis raises.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        with self._registered(job_id) as news:
            await _wait_up_to(self._subscribed, min(timeout_s, SUBSCRIBE_TIMEOUT_S))
            while True:
                news.clear()  # before the read: what happens after it, sets it again
                (record,) = await self._store.jobs.read_many([job_id])
                if record is None:
                    raise NoSuchJob(job_id)
                left = deadline - clock()
                if (
                    isinstance(record, UnreadableRecord)
                    or record.job.state in SETTLED_OR_PARKED
                    or left <= 0
                    or self._is_closed
                    or not is_client_connected()
                ):
                    return
                await _wait_up_to(news, min(left, RECHECK_INTERVAL_S))

    @contextlib.contextmanager
    def _registered(self, job_id: str) -> Generator[asyncio.Event]:
        news = asyncio.Event()
        self._events_by_job.setdefault(job_id, set()).add(news)
        try:
            yield news
        finally:
            others = self._events_by_job[job_id]
            others.discard(news)
            if not others:
                del self._events_by_job[job_id]

    async def run(self) -> None:
        """Pass on what the channel says, for ever; while Redis is away the rereading has to do."""
        while True:
            try:
                await self._read_channel()
            except (RedisError, OSError) as error:
                log.warning("subscription.lost", error=type(error).__name__)
            finally:
                self._subscribed.clear()
            await asyncio.sleep(RECONNECT_DELAY_S)

    async def _read_channel(self) -> None:
        channel = cast("Any", self._store.client.redis).pubsub()
        try:
            await channel.subscribe(self._store.keys.settled)
            while True:
                message = await channel.get_message(timeout=MESSAGE_TIMEOUT_S)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._subscribed.set()
                elif message["type"] == "message":
                    for job_id in message["data"].decode().split():
                        self._notify(job_id)
        finally:
            await channel.aclose()

    def _notify(self, job_id: str) -> None:
        for news in self._events_by_job.get(job_id, ()):
            news.set()

    def close(self) -> None:
        """Let everybody go, with what is known now."""
        self._is_closed = True
        for job_id in self._events_by_job:
            self._notify(job_id)


async def _wait_up_to(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, but not for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
