"""Keeps a process informed of which server is the primary, for as long as it runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from worker.redis.primary import Primary
from worker.redis.sentinels import SWITCH_CHANNEL
from worker.tasks import cancel_and_wait, is_being_cancelled

log: Final = structlog.get_logger(__name__)

CHECK_EVERY_S: Final = 0.7
"""Pause between two checks: the next one comes before a confirmation has expired."""

SUBSCRIBE_AGAIN_S: Final = 2.0
"""Pause after a Sentinel was not reached."""

MESSAGE_TIMEOUT_S: Final = 30.0


class PrimaryWatch:
    """Checks the server and asks the Sentinels, at least every second and at each failover."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        self._switched = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start."""
        checks = [self._repeat(self._primary.check_server)]
        if (sentinels := self._primary.sentinels) is not None:
            checks += [self._repeat(self._primary.check_sentinels)]
            checks += [self._subscribe(client) for client in sentinels.clients]
        self._tasks = [asyncio.create_task(check, name="redis primary") for check in checks]

    async def stop(self) -> None:
        """Stop."""
        await cancel_and_wait(*self._tasks)

    async def _repeat(self, check: Callable[[], Awaitable[None]]) -> None:
        while not is_being_cancelled():
            try:
                await check()
            except (RedisError, OSError) as error:
                self._primary.problem = str(error)
            except Exception as error:
                log.exception("redis.primary_check_failed", error=type(error).__name__)
            self._switched.clear()
            try:
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self._switched.wait()
            except TimeoutError:
                continue

    async def _subscribe(self, sentinel: Any) -> None:
        while not is_being_cancelled():
            try:
                async with sentinel.pubsub() as pubsub:
                    await pubsub.subscribe(SWITCH_CHANNEL)
                    while not is_being_cancelled():
                        if await pubsub.get_message(timeout=MESSAGE_TIMEOUT_S) is not None:
                            self._switched.set()
            except (RedisError, OSError):
                await asyncio.sleep(SUBSCRIBE_AGAIN_S)
