"""Finds that Redis lost its data while the server stayed the same, as by `FLUSHDB`.

The namespace has a mark of its data. Where it is another one than before, this worker writes back
what it remembers of the jobs it submitted, and says so to the operator for a day.
"""

import math
from datetime import UTC, datetime
from typing import Final

import structlog

from worker.engine.services.redis_recovery import RedisRecovery
from worker.engine.supervisor import ServiceHealth
from worker.engine.wakeups import Wakeup
from worker.store.registers import Registers

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 1.0
SHOWN_FOR_S: Final = 86_400.0
"""How long heartbeat, pages, `/readyz` and doctor show the loss."""

PROBLEM: Final = "redis_data"
FIX: Final = (
    "find out who ran FLUSHDB, FLUSHALL or DEL; enqueue the lost jobs again with the same ids, and"
    " compare the provider's list of runs with the jobs before anything is submitted a second time"
)


class DataWatch:
    """Compares the mark of the data with the one this worker knows."""

    name = "data_watch"

    def __init__(
        self, registers: Registers, recovery: RedisRecovery, health: ServiceHealth, data_id: str
    ) -> None:
        self._registers = registers
        self._recovery = recovery
        self._health = health
        self._own_id = data_id
        """With a number, the mark that this worker writes where there is none; never one twice."""
        self._ticks = 0
        self._known_id: str | None = None
        self._hidden_at = math.inf
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Read the mark, and restore what was lost; returns the seconds until the next tick."""
        self._ticks += 1
        found = await self._registers.data_id(f"{self._own_id}.{self._ticks}")
        if self._known_id is not None and found != self._known_id:
            restored, remembered = await self._recovery.restore_all()
            self._report(now, restored, remembered)
        self._known_id = found
        if now >= self._hidden_at:
            self._health.record_recovery(PROBLEM)
            self._hidden_at = math.inf
        return TICK_S

    def _report(self, now: float, restored: int, remembered: int) -> None:
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        text = (
            f"Redis lost its data at {at}: this worker wrote back {restored} jobs; jobs that were"
            " queued, and those it had not submitted lately, are lost"
        )
        self._health.record_problem(PROBLEM, text)
        self._hidden_at = now + SHOWN_FOR_S
        log.error("redis.data_lost", restored=restored, remembered=remembered, why=text, fix=FIX)
