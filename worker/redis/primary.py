"""Which server is the primary, and since when that is known.

A server that is frozen, or that was replaced, still claims to be the primary when it goes on. So
connections belong to a generation: each time the primary is found to be another server, a new one
begins, the connections of earlier ones are closed, and what was under way on them is sent again.
Behind Sentinel, the Sentinels are asked, and what most of them name counts. Without it, a new
connection shows where the address leads now.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError, RedisError  # noqa: A004

from worker.redis.primary_choice import SentinelAnswer
from worker.redis.sentinels import SentinelClients
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

MAX_AGE_S: Final = 1.0
"""How long a confirmation counts. A Sentinel needs longer to replace a server that it reached."""

CHECK_TIMEOUT_S: Final = 1.0
"""How long a check of the server may take."""


class NotPrimary(ConnectionError):
    """The server is a replica, or another server became the primary while a connection was made."""


class ServerProbe(Protocol):
    """Identifies the server that the address leads to now, by `Primary.record_server`."""

    async def __call__(self) -> None:
        """Raises `redis.exceptions.RedisError` or OSError if there is no answer."""
        ...


class Primary:
    """The server that a pool is connected to; the pool calls `record_server` for each connection.

    `max_age_s`: how long a confirmation counts.
    """

    def __init__(
        self, *, max_age_s: float = MAX_AGE_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.generation = 0
        """Rises each time the primary is found to be another server, or may have been."""
        self.probe: ServerProbe | None = None
        """Set by the pool."""
        self.sentinels: SentinelClients | None = None
        """Who names the primary; None where the address does."""
        self.problem = ""
        """Why it cannot be confirmed, as far as that is known."""
        self._max_age_s = max_age_s
        self._monotonic = monotonic
        self._run_id: str | None = None
        self._named: SentinelAnswer | None = None
        self._confirmed_at = -math.inf
        self._replaced_at = monotonic()
        self._observers: list[Callable[[], None]] = []
        self._check: asyncio.Task[None] | None = None

    def observe(self, observer: Callable[[], None]) -> None:
        """Call `observer` at the beginning of each generation."""
        self._observers.append(observer)

    @property
    def is_confirmed(self) -> bool:
        """Whether it was known a moment ago that the connections lead to the primary."""
        return self._monotonic() - self._confirmed_at <= self._max_age_s

    @property
    def is_unanswered(self) -> bool:
        """Whether too few Sentinels answer, for longer than a single check: nothing may be sent."""
        silent_s = self._monotonic() - self._confirmed_at
        return self.sentinels is not None and silent_s > self._max_age_s + CHECK_TIMEOUT_S

    @property
    def unconfirmed_reason(self) -> str:
        """Why it has not been confirmed for longer than a single check; empty while it is."""
        since = max(self._confirmed_at, self._replaced_at)
        is_late = self._monotonic() - since > self._max_age_s + CHECK_TIMEOUT_S
        return (self.problem or "no answer") if is_late else ""

    def record_server(self, run_id: str, *, is_replica: bool, asked_at: float) -> None:
        """Take in what the server of a new connection says of itself.

        `asked_at`: when, by the monotonic clock. Raises NotPrimary for a replica.
        """
        if is_replica:
            if run_id == self._run_id:
                self.replace("it is a replica now")
            raise NotPrimary("READONLY: the server is a replica")
        if self._run_id not in (None, run_id):
            self.replace("another server answers at its address")
        self._run_id = run_id
        if self.sentinels is None:
            self._confirmed_at, self.problem = max(self._confirmed_at, asked_at), ""

    def replace(self, why: str) -> None:
        """Begin a generation: the primary is, or may be, another server."""
        self.generation += 1
        self._run_id = None
        self._confirmed_at = -math.inf
        self._replaced_at = self._monotonic()
        log.warning("redis.primary_changed", why=why, generation=self.generation)
        for observer in self._observers:
            observer()

    async def locate(self) -> tuple[str, int] | None:
        """The host and port that Sentinel names; None where the address is fixed.

        Raises `redis.asyncio.sentinel.MasterNotFoundError` if too few Sentinels name one.
        """
        if self.sentinels is None:
            return None
        await self.confirm()
        if self._named is None:
            raise MasterNotFoundError(self.problem)
        return self._named.address

    async def confirm(self) -> bool:
        """Whether the primary is the known one: as found a moment ago, else asked now.

        Callers that ask at the same time share one check.
        """
        if self.is_confirmed:
            return True
        if self._check is None or self._check.done():
            check = self.check_server if self.sentinels is None else self.check_sentinels
            self._check = asyncio.create_task(self._quietly(check), name="redis primary")
        await asyncio.shield(self._check)
        return self.is_confirmed

    async def check_server(self) -> None:
        """Find out which server the address leads to, by a new connection.

        Raises `redis.exceptions.RedisError` or OSError if it does not answer in time.
        """
        if self.probe is not None:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self.probe()

    async def check_sentinels(self) -> None:
        """Ask the Sentinels for the primary. Those that do not answer are left out."""
        if self.sentinels is None:
            return
        asked_at = self._monotonic()
        choice = await self.sentinels.choose(self._named, asked_at)
        self.problem = choice.problem or self.problem
        former, self._named = self._named, choice.primary
        if former is not None and choice.replaces(former):
            self.replace(f"Sentinel names {choice.primary}")
        if choice.is_confirmed:
            self._confirmed_at = max(self._confirmed_at, asked_at)

    async def close(self) -> None:
        """Close what this has opened."""
        if self._check is not None:
            await cancel_and_wait(self._check)
        if self.sentinels is not None:
            await self.sentinels.close()

    async def _quietly(self, check: Callable[[], Awaitable[None]]) -> None:
        """Run a check that may fail: then nothing is confirmed."""
        try:
            await check()
        except (RedisError, OSError) as error:
            self.problem = str(error)
