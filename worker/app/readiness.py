"""Whether Redis does what this program needs, asked anew every few seconds at most."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from worker.store import Store
from worker.store.command_check import check_commands
from worker.store.refusals import RedisRefusal

KEPT_S: Final = 5.0
"""How long an answer counts: probes of many balancers cost one check."""

KEPT_BAD_S: Final = 1.0
"""How long a bad answer counts."""


class Readiness:
    """The check of Redis' commands, shared by every request that asks."""

    def __init__(self, store: Store, steady: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._steady = steady
        self._lock = asyncio.Lock()
        self._problems: list[RedisRefusal] = []
        self._counts_until = float("-inf")

    async def problems(self) -> list[RedisRefusal]:
        """What Redis refuses. Raises `redis.exceptions.RedisError` where it does not answer."""
        async with self._lock:
            if self._steady() >= self._counts_until:
                self._problems = await check_commands(self._store.client, self._store.keys)
                kept_s = KEPT_BAD_S if self._problems else KEPT_S
                self._counts_until = self._steady() + kept_s
            return self._problems
