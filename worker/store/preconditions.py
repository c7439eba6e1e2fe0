"""What a commit requires beside the revision of its job: room, and gates as they were read."""

from dataclasses import dataclass

from jobs.breakers import NO_EPOCHS, BreakerEpochs, breaker_keys
from jobs.fairness import fair_key_of, key_queue_name
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import Lane


@dataclass(frozen=True, slots=True)
class Limit:
    """Precondition: an index holds fewer than `max_members` members."""

    kind: Index
    name: str
    max_members: int


@dataclass(frozen=True, slots=True)
class EpochCheck:
    """Precondition: a breaker is still in this epoch (0: it has no record)."""

    key: str
    epoch: int


@dataclass(frozen=True, slots=True)
class BudgetCheck:
    """Precondition: the period of a budget runs, and has room for an amount."""

    budget: str
    generation: int
    period: str
    limit: int
    """Millionths of a credit, as the next one."""
    amount: int
    start: float
    """Unix seconds, by the clock of Redis; minus infinity and infinity for a total."""
    end: float


@dataclass(frozen=True, slots=True)
class TickCheck:
    """Precondition: a schedule and its highest tick are as they were read, and a tick is due.

    The tick, Unix seconds, is the highest one from then on. Due is what the clock of Redis says.
    """

    schedule: str
    """As its name is stored."""
    revision: int
    highest: int
    tick: int


@dataclass(frozen=True, slots=True)
class ParentCheck:
    """Precondition of a job that waits for another: that one is as it was read."""

    job_id: str
    version: int
    """The number of its revision."""


def epoch_checks(job: Job) -> tuple[EpochCheck, ...]:
    """The precondition of a send: no breaker of the job tripped since it was admitted."""
    epochs = BreakerEpochs(*job.breaker_epochs[: len(NO_EPOCHS)])
    return tuple(
        EpochCheck(key, epoch) for key, epoch in zip(breaker_keys(job.lane), epochs, strict=True)
    )


def lane_cap(lane: Lane, max_active: int) -> Limit:
    """The precondition of a lane's concurrency cap."""
    return Limit(Index.ACTIVE, str(lane), max_active)


def key_cap(job: Job, max_active: int) -> Limit:
    """The precondition of the concurrency cap of a job's fair key."""
    return Limit(Index.KEY_ACTIVE, key_queue_name(job.lane, fair_key_of(job)), max_active)


def canary_limit(hold_id: str, max_submits: int) -> Limit:
    """The precondition of an opening hold: at most `max_submits` submits at once."""
    return Limit(Index.GATE, hold_id, max_submits)
