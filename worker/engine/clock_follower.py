"""Keeps the clock of a process in step with that of Redis, and says where the two disagree."""

from typing import Final

import structlog

from worker.clock import MAX_CLOCK_OFF_S, MAX_SILENT_STEP_S, Clock, RedisClock
from worker.engine.supervisor import ServiceHealth
from worker.engine.wakeups import Wakeup
from worker.redis.server import RedisServer
from worker.store.client import Client

log: Final = structlog.get_logger(__name__)

COMPARE_EVERY_S: Final = 5.0

CLOCK: Final = "clock"
"""The name of the problem in the health of a process."""

NTP: Final = (
    "let NTP (chrony, systemd-timesyncd) set the clock of its machine and of Redis' machine"
)
"""What to do about it."""


NEEDS_RIGHT_TIME: Final = (
    "admission",
    "scheduler",
    "rescuer",
    "breaker_prober",
    "pruner",
    "budget_keeper",
    "balance_watcher",
    "callback_sender",
    "schedule_ticker",
)
"""Services that send runs, or act on what is due, overdue or old: they wait while the clock is off.
Polls of paid runs go on."""


class ClockFollower:
    """Compares the clocks: by itself as a service of the API, with each heartbeat of a worker."""

    name = "clock_follower"

    def __init__(self, client: Client, clock: Clock, health: ServiceHealth) -> None:
        self._server = RedisServer(client)
        self._clock = (
            clock if isinstance(clock, RedisClock) else None
        )  # a test's own stays as it is
        self._health = health
        self._was_off = False
        self.wakeup = Wakeup()

    @property
    def is_right(self) -> bool:
        """Whether runs may be sent, and due times be acted on, by this process' time."""
        return self._clock is None or self._clock.is_right

    def may_tick(self, service: str) -> bool:
        """Whether a service, by name, may run now."""
        return self.is_right or service not in NEEDS_RIGHT_TIME

    @property
    def machine_ahead_s(self) -> float:
        """How far the machine's clock is ahead of Redis', in seconds."""
        return round(self._clock.machine_ahead_s, 3) if self._clock else 0.0

    def steady(self) -> float:
        """Now, to say later when TIME was asked."""
        return self._clock.steady() if self._clock else 0.0

    async def tick(self, now: float) -> float:
        """Ask Redis for its time; returns the seconds until the next tick."""
        del now
        asked_at = self.steady()
        self.compare(await self._server.time(), asked_at)
        return COMPARE_EVERY_S

    def compare(self, redis_time: float, asked_at: float) -> bool:
        """Compare with a reply to TIME that just came; returns whether `is_right` has changed."""
        if self._clock is None:
            return False
        was_right = self._clock.is_right
        found = self._clock.compare(redis_time, asked_at, self._clock.steady())
        ahead_s = round(found.machine_ahead_s, 2)
        if abs(found.step_s) > MAX_SILENT_STEP_S:
            log.warning("clock.corrected", by_s=round(found.step_s, 2), machine_ahead_s=ahead_s)
        if found.is_off:
            self._health.record_problem(CLOCK, clock_text(found.machine_ahead_s))
        if found.is_off and not self._was_off:
            log.error("clock.off", machine_ahead_s=ahead_s, bound_s=MAX_CLOCK_OFF_S, fix=NTP)
        if self._was_off and not found.is_off:
            self._health.record_recovery(CLOCK)
            log.info("clock.right", machine_ahead_s=ahead_s)
        self._was_off = found.is_off
        return was_right is not self._clock.is_right


def clock_text(machine_ahead_s: float) -> str:
    """What is wrong with a clock that is off."""
    side = "ahead of" if machine_ahead_s > 0 else "behind"
    return f"its clock is {abs(machine_ahead_s):.0f} s {side} that of Redis, so it sends nothing"
