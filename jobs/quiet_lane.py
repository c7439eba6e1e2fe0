"""When a job is tried again while its lane is quiet: nothing tells an outage from its own inputs.

A lane is quiet for a job if no run of another job, submitted after this job's first failure, has
succeeded. One or two jobs alone trip no breaker, so an outage would spend their attempts within
seconds. Instead:

- A submit that is refused costs nothing. It spends attempts at the usual backoff until the last one
  would be spent; then these are given back, and the pauses go on doubling, up to 15 min.
- A run that failed may have been paid for, so it spends its attempt, and the retries are stretched
  over the limit of an outage, in geometric steps from 70 times the base of the backoff (140 s) on:
  2 min, 20 min, 2.8 h and 24 h after the first failure. Most failures are single ones, though: so
  the first retry comes after the usual backoff, and the second step is left out for it. With 5
  attempts and 24 h the retries come after some seconds, 2 min, 2.8 h and 24 h.

A success of another job of the lane ends all of this: the job is due at once.
"""

from typing import Final

from jobs.backoff import Backoff

MAX_PAUSE_S: Final = 900.0
"""The longest pause after a refused submit."""

MIN_BASE_S: Final = 1.0
"""The pauses double from the base of the backoff, but at least from this: they go on for hours."""

FIRST_STEP_BASES: Final = 70.0
"""The first step of the stretched retries, in units of the base of the backoff."""

LEAST_OF_WAIT: Final = 0.98
"""How much of a stretched wait is left by the jitter."""


def refused_wait_s(
    backoff: Backoff, failures: int, jitter: float, floor_s: float | None = None
) -> float:
    """Seconds to wait after so many refused submits; `floor_s` is the provider's `Retry-After`.

    Half of the pause is random: `uniform(p/2, p)` with `p = min(900, base * 2^(failures-1))`.
    """
    pause_s = min(MAX_PAUSE_S, max(MIN_BASE_S, backoff.base_s) * 2.0 ** min(failures - 1, 60))
    return max(floor_s or 0.0, pause_s * (1.0 + jitter) / 2.0)


def retry_offset_s(
    backoff: Backoff,
    spent: int,
    max_attempts: int,
    limit_s: float,
    jitter: float,
    *,
    is_probe: bool = False,
) -> float:
    """Seconds from the first failure to the retry that follows after `spent` attempts.

    0 means after the usual backoff: the first retry, but not that of a probe, where others have
    failed, too. `limit_s` is how long an outage is borne.

    >>> [round(retry_offset_s(Backoff(), spent, 5, 86_400.0, 1.0)) for spent in (1, 2, 3, 4)]
    [0, 140, 10148, 86400]
    """
    steps, step = max_attempts - 1, spent
    if not is_probe and spent <= 2 and spent < steps:  # noqa: PLR2004
        step = spent - 1  # the second step is left out
    if step < 1:
        return 0.0
    first_s = min(FIRST_STEP_BASES * backoff.base_s, limit_s)
    if steps == 1:
        offset_s = first_s
    elif step >= steps or not first_s:
        offset_s = limit_s
    else:
        offset_s = first_s * (limit_s / first_s) ** ((step - 1) / (steps - 1))
    return offset_s * (LEAST_OF_WAIT + (1.0 - LEAST_OF_WAIT) * jitter)
