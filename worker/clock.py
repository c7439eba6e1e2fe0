"""Time, randomness and ids, given to whatever needs them.

Processes on several machines compare times with one another: leases, due times, deadlines. So all
of them work by one clock, that of Redis.
"""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from jobs.lanes import JobId

MAX_CLOCK_OFF_S: Final = 30.0
"""A machine whose clock differs more from that of Redis is not to be relied on: one of both is
wrong, and which one it is cannot be told."""

MAX_SILENT_STEP_S: Final = 1.0
"""A larger correction is logged."""


class Clock(Protocol):
    """A source of time, randomness and ids."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def new_id(self) -> JobId:
        """A new job id; later ids sort after earlier ones."""
        ...


class SystemClock:
    """The clock of the machine, and a random generator of its own."""

    def __init__(self) -> None:
        self._random = random.Random(secrets.randbits(64))  # noqa: S311 - jitter is no secret

    def now(self) -> float:
        """Unix time in seconds, rounded to 0.1 ms, so that records stay readable."""
        return round(time.time(), 4)

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()

    def new_id(self) -> JobId:
        """Milliseconds and 40 random bits, in hex: 21 characters, sorted by time."""
        return _new_id(time.time())


def _new_id(at: float) -> JobId:
    return JobId(f"{int(at * 1000):011x}{secrets.token_hex(5)}")


@dataclass(frozen=True, slots=True)
class ClockComparison:
    """What a comparison with Redis' clock found, in seconds."""

    machine_ahead_s: float
    """How far the machine's clock is ahead of that of Redis."""
    step_s: float
    """By how much the time that this process works by was corrected."""

    @property
    def is_off(self) -> bool:
        """Whether the two clocks differ by more than `MAX_CLOCK_OFF_S`."""
        return abs(self.machine_ahead_s) > MAX_CLOCK_OFF_S


class RedisClock:
    """The time of Redis, carried on between comparisons by the machine's monotonic clock.

    A step of the machine's clock does not change it. Where Redis' own clock jumps, as after a
    failover to a server whose clock is wrong, and the machine's does not, the time goes on as
    before. Until the first comparison it is the machine's.
    """

    def __init__(
        self, machine: Clock | None = None, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._machine = machine or SystemClock()
        self.steady = steady
        """Seconds that never go back, to measure a round trip by."""
        self._shift = self._machine.now() - steady()
        self._last: ClockComparison | None = None

    @property
    def is_right(self) -> bool:
        """Whether the machine and Redis agreed at the last comparison, within the bound."""
        return self._last is not None and not self._last.is_off

    @property
    def machine_ahead_s(self) -> float:
        """How far the machine's clock was ahead of Redis' at the last comparison, in seconds."""
        return self._last.machine_ahead_s if self._last else 0.0

    def now(self) -> float:
        """Unix time in seconds, rounded to 0.1 ms, so that records stay readable."""
        return round(self.steady() + self._shift, 4)

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        return self._machine.jitter()

    def new_id(self) -> JobId:
        """As `SystemClock.new_id`, by the time of Redis."""
        return _new_id(self.now())

    def compare(self, redis_time: float, asked_at: float, answered_at: float) -> ClockComparison:
        """Compare with what Redis answered to TIME; `asked_at`, `answered_at`: by `steady`.

        Half the round trip is uncertain: a difference within it changes nothing.
        """
        uncertain = (answered_at - asked_at) / 2
        steady_then = asked_at + uncertain
        since = self.steady() - steady_then
        machine_ahead = _certain(self._machine.now() - since - redis_time, uncertain)
        step = _certain(redis_time - (steady_then + self._shift), uncertain)
        is_first = self._last is None
        found = ClockComparison(machine_ahead, step)
        if found.is_off and abs(step) > MAX_CLOCK_OFF_S and not is_first:
            found = ClockComparison(machine_ahead, 0.0)
        self._shift += found.step_s
        self._last = found
        return found


def _certain(difference: float, uncertain: float) -> float:
    """What is certain of a difference; 0 where it may be none."""
    return difference if abs(difference) > uncertain else 0.0
