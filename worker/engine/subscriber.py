"""Hears the bell of other processes: an enqueue or a release that admission should know at once."""

import asyncio
from typing import Final

import structlog
from redis.exceptions import RedisError

from worker.engine.wakeups import Wakeup
from worker.store.client import Client
from worker.tasks import cancel_and_wait, is_being_cancelled

log: Final = structlog.get_logger(__name__)

RECONNECT_PAUSE_S: Final = 1.0
MESSAGE_TIMEOUT_S: Final = 60.0


class Subscriber:
    """Rings a bell for every message of a channel. Deaf, it costs speed only: services look too."""

    def __init__(self, client: Client, channel: str, wakeup: Wakeup) -> None:
        self._client = client
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
        async with self._client.subscribe(self._channel) as subscription:
            while not is_being_cancelled():
                if await subscription.next_message(MESSAGE_TIMEOUT_S) is not None:
                    self._wakeup.notify()
