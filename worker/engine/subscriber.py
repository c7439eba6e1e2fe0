"""Hears the bell of other processes: an enqueue or a release that admission should know at once."""

import asyncio
from typing import Any, Final, cast

import structlog
from arq import ArqRedis
from redis.exceptions import RedisError

from worker.engine.wakeups import Wakeup
from worker.tasks import cancel_and_wait, is_being_cancelled

log: Final = structlog.get_logger(__name__)

RECONNECT_PAUSE_S: Final = 1.0


class Subscriber:
    """Rings a bell for every message of a channel. Deaf, it costs speed only: services look too."""

    def __init__(self, redis: ArqRedis, channel: str, wakeup: Wakeup) -> None:
        self._redis = redis
        self._channel = channel
        self._wakeup = wakeup
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start listening."""
        self._task = asyncio.create_task(self._run(), name="subscriber")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def _run(self) -> None:
        while not is_being_cancelled():
            try:
                await self._subscribe()
            except (RedisError, OSError) as error:
                log.warning("subscriber.interrupted", error=type(error).__name__)
                await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _subscribe(self) -> None:
        subscription = cast("Any", self._redis).pubsub(ignore_subscribe_messages=True)
        try:
            await subscription.subscribe(self._channel)
            while not is_being_cancelled():
                message = await subscription.get_message(timeout=60.0)
                if message is not None:
                    self._wakeup.notify()
        finally:
            await subscription.aclose()
