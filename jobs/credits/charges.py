"""What the attempts of a job cost, and the sums of the ledger that this changes.

As with the indexes of a job, its charges are a pure function of its record. A commit adds the
difference between those of the old record and those of the new one, in the same atomic step. So
each charge is in the sums once, whatever crashes, and a cost that is corrected later moves only by
what it differs by.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from jobs.batches import batch_of
from jobs.credits.sources import CostSource
from jobs.job import EXPIRED, Attempt, Job
from jobs.states import State

MICRO: Final = 1_000_000
"""Sums are kept in millionths of a credit, as integers: they add up exactly."""

MAX_CREDITS: Final = 1e9
"""A cost beyond this is not believed: the attempt counts as one of unknown cost."""

KEPT_S: Final = 400 * 86_400
"""How long the sums of a day are kept: a year, and a month to look back at it."""

MAX_LANES: Final = 5_000
MAX_TAGS: Final = 1_000
MAX_BATCHES: Final = 1_000
"""Names with a sum of their own on one day; further ones are added to `OTHER`."""

OTHER: Final = "other"


class Dimension(StrEnum):
    """By what the ledger keeps sums. The value is part of a Redis key."""

    LANE = "lane"
    """Account, kind and target. Sums by day, account and target follow from it."""
    TAG = "tag"
    """Tags overlap: a charge is in the sum of each tag of its job."""
    BATCH = "batch"


class Measure(StrEnum):
    """What the ledger adds up. The value is part of a Redis key."""

    CREDITS = "credits"
    """Millionths of a credit, estimates included."""
    CHARGES = "charges"
    """Attempts that cost something, or may have."""
    ESTIMATED = "estimated"
    """The part of `CREDITS` that is an estimate, because the provider has not said what it is."""
    USAGE = "usage"
    """The part of `CREDITS` that the provider's list of runs named."""
    RETRIES = "retries"
    """The part of `CREDITS` of attempts that another attempt of the same job followed."""
    DEAD = "dead"
    """The part of `CREDITS` of jobs that are dead letters, or were discarded."""
    UNKNOWN = "unknown"
    """Attempts of `CHARGES` whose cost is unknown, and has no estimate."""


class LedgerSum(NamedTuple):
    """One sum of the ledger."""

    day: str
    """UTC, such as `2026-11-27`: when the attempt ended."""
    dimension: Dimension
    name: str
    measure: Measure


MAX_NAMES: Final[Mapping[Dimension, int]] = {
    Dimension.LANE: MAX_LANES,
    Dimension.TAG: MAX_TAGS,
    Dimension.BATCH: MAX_BATCHES,
}


def changed_sums(old: Job | None, new: Job) -> dict[LedgerSum, int]:
    """What to add to each sum when `new` replaces `old`; only what differs.

    Attempts that are no longer in the record stay in the sums.
    """
    if old is not None and not _differs(old, new):
        return {}
    kept = {attempt.number for attempt in new.attempts}
    changes: Counter[LedgerSum] = Counter()
    for key, amount in _sums(new, kept):
        changes[key] += amount
    for key, amount in _sums(old, kept) if old is not None else ():
        changes[key] -= amount
    return {key: amount for key, amount in changes.items() if amount}


def fallback_of(dimension: Dimension, name: str) -> str:
    """The name that further names of a day are added to; of a lane, the one of its account."""
    if dimension is not Dimension.LANE:
        return OTHER
    account, kind, _ = name.split("/", 2)
    return f"{account}/{kind}/{OTHER}"


def micro_credits(cost: float | None) -> int | None:
    """A cost in millionths of a credit; None if it is unknown or not to be believed."""
    if cost is None or not 0 <= cost <= MAX_CREDITS:
        return None
    return round(cost * MICRO)


def day_of(at: float) -> str:
    """The day of a time (Unix seconds) in UTC, such as `2026-11-27`."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def is_charged(attempt: Attempt) -> bool:
    """Whether an attempt has a place in the ledger: its cost is known, or it may have one."""
    return attempt.cost is not None or attempt.cost_source is not None


def _differs(old: Job, new: Job) -> bool:
    return (
        old.attempts != new.attempts
        or old.submits != new.submits
        or old.tags != new.tags
        or _is_given_up(old) != _is_given_up(new)
    )


def _is_given_up(job: Job) -> bool:
    """Whether a job is a dead letter, or was discarded: only that keeps the reason it had."""
    if job.state is not State.CANCELLED or job.reason is None:
        return job.state is State.DEAD
    return job.reason.code != EXPIRED


def _sums(job: Job, kept: Collection[int]) -> Iterator[tuple[LedgerSum, int]]:
    """The amounts that the charged attempts of a job add to each sum, one after the other."""
    is_given_up = _is_given_up(job)
    for attempt in job.attempts:
        if attempt.number not in kept or not is_charged(attempt):
            continue
        day = day_of(attempt.started_at if attempt.ended_at is None else attempt.ended_at)
        amounts = _amounts(attempt, is_last=attempt.number >= job.submits, is_given_up=is_given_up)
        for dimension, name in _names(job):
            for measure, amount in amounts:
                yield LedgerSum(day, dimension, name, measure), amount


def _amounts(
    attempt: Attempt, *, is_last: bool, is_given_up: bool
) -> Sequence[tuple[Measure, int]]:
    credit = micro_credits(attempt.cost)
    if credit is None:
        return ((Measure.CHARGES, 1), (Measure.UNKNOWN, 1))
    found = [(Measure.CREDITS, credit), (Measure.CHARGES, 1)]
    match attempt.cost_source:
        case CostSource.ESTIMATE:
            found.append((Measure.ESTIMATED, credit))
        case CostSource.USAGE:
            found.append((Measure.USAGE, credit))
        case None:
            pass
        case _:
            assert_never(attempt.cost_source)
    if not is_last:
        found.append((Measure.RETRIES, credit))
    if is_given_up:
        found.append((Measure.DEAD, credit))
    return found


def _names(job: Job) -> Iterator[tuple[Dimension, str]]:
    yield Dimension.LANE, str(job.lane)
    for tag in job.tags:
        yield Dimension.TAG, tag
    if (batch := batch_of(job)) is not None:
        yield Dimension.BATCH, batch
