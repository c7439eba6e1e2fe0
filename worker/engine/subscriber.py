"""Hears the bell of other processes: an enqueue or a release that admission should know at once."""

import asyncio
from typing import Any, Final, cast

import structlog
from arq import ArqRedis
from redis.exceptions import RedisError

from worker.engine.wakeups import Bell
from worker.tasks import end, was_told_to_end

log: Final = structlog.get_logger(__name__)

AGAIN_S: Final = 1.0


class Listener:
    """Rings a bell for every message of a channel. Deaf, it costs speed only: services look too."""

    def __init__(self, redis: ArqRedis, channel: str, bell: Bell) -> None:
        self._redis = redis
        self._channel = channel
        self._bell = bell
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start listening."""
        self._task = asyncio.create_task(self._keep_listening(), name="listener")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            await end(self._task)

    async def _keep_listening(self) -> None:
        while not was_told_to_end():
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("listener.interrupted", error=type(error).__name__)
                await asyncio.sleep(AGAIN_S)

    async def _listen(self) -> None:
        subscription = cast("Any", self._redis).pubsub(ignore_subscribe_messages=True)
        try:
            await subscription.subscribe(self._channel)
            while not was_told_to_end():
                message = await subscription.get_message(timeout=60.0)
                if message is not None:
                    self._bell.ring()
        finally:
            await subscription.aclose()
