"""Where a job is to be found: a pure function of its record.

The store writes exactly these entries in the same atomic step as the record, by the difference
between the old record's entries and the new one's; so a job is always in the one place that
somebody watches, and a census can tell.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from jobs.job import Job
from jobs.lanes import queue_score
from jobs.states import ACTIVE, Mode, State
from jobs.transitions import STUCK


class Index(StrEnum):
    """A sorted set of job ids. The value is part of its key."""

    # Places: somebody watches them and moves the job on.
    DUE = "due"
    """`scheduled` and `retrying`, by due time; the clock watches."""
    LANE = "lane"
    """`queued`, by place in line; admission watches."""
    BYPASS = "pass"
    """`queued`, released by a person through a closed gate; admission watches."""
    LEASE = "lease"
    """`submitting` and sync runs, by the end of their lease; the rescuer watches."""
    INFLIGHT = "inflight"
    """Async runs, by the time of their next poll; the poller watches."""
    STATE = "state"
    """Every job by its state, scored by when it entered: people watch `parked` and `dead`,
    the pruner `succeeded` and `cancelled`."""

    # Indexes: for lists, counts and caps.
    ALL = "all"
    TARGET = "target"
    TAG = "tag"
    BATCH = "batch"
    EXECUTION = "execution"
    """Jobs whose run the provider has, by its execution id: a delivery finds its job by it."""
    ACTIVE = "active"
    """Jobs of a lane that are submitting or running: the concurrency cap counts them."""
    GATE = "gate"
    """Submits under way through an opening hold: its step counts them."""
    HELD = "held"
    """Jobs that a hold parked."""
    GROUP = "group"
    """Parked jobs and dead letters by state, code and lane."""


class IndexEntry(NamedTuple):
    """One membership: in which index, under which name, with which score."""

    kind: Index
    name: str
    score: float


def entries(job: Job) -> tuple[IndexEntry, ...]:
    """Every entry a job has."""
    return (*_permanent_entries(job), *_state_entries(job))


def changed_entries(old: Job, new: Job) -> tuple[Sequence[IndexEntry], Sequence[IndexEntry]]:
    """The entries of two versions between which they may differ."""
    if (
        old.created_at == new.created_at
        and old.target == new.target
        and old.kind is new.kind
        and old.tags == new.tags
        and old.batch == new.batch
    ):
        return _state_entries(old), _state_entries(new)
    return entries(old), entries(new)


def _permanent_entries(job: Job) -> list[IndexEntry]:
    """Those that it has from its first version to its last."""
    found = [
        IndexEntry(Index.ALL, "", job.created_at),
        IndexEntry(Index.TARGET, f"{job.kind}/{job.target}", job.created_at),
    ]
    found += [IndexEntry(Index.TAG, tag, job.created_at) for tag in job.tags]
    if job.batch is not None:
        found.append(IndexEntry(Index.BATCH, job.batch, job.created_at))
    return found


def _state_entries(job: Job) -> list[IndexEntry]:
    """Those that come and go with its state."""
    found = [IndexEntry(Index.STATE, job.state, job.since)]
    if (watched := watched_index(job)) is not None:
        found.append(watched)
    if job.state in ACTIVE:
        found.append(IndexEntry(Index.ACTIVE, str(job.lane), job.created_at))
    if job.execution_id is not None and accepts_run_updates(job):
        found.append(IndexEntry(Index.EXECUTION, job.execution_id, job.created_at))
    found += [IndexEntry(Index.GATE, gate, job.since) for gate in job.opening_hold_ids]
    if job.state in (State.PARKED, State.DEAD) and job.reason is not None:
        group = f"{job.state}|{job.reason.code}|{job.lane}"
        found.append(IndexEntry(Index.GROUP, group, job.since))
        if job.state is State.PARKED and job.reason.hold_id is not None:
            found.append(IndexEntry(Index.HELD, job.reason.hold_id, job.since))
    return found


def accepts_run_updates(job: Job) -> bool:
    """Whether word of the job's run still moves it: the provider has it, or is to end it."""
    return job.state in (State.RUNNING, State.CANCELLING) or job.parked_as == STUCK


def watched_index(job: Job) -> IndexEntry | None:
    """The place beside its state where somebody watches an unfinished job; None when people do."""
    match job.state:
        case State.SCHEDULED | State.RETRYING:
            return IndexEntry(Index.DUE, "", _time_or_updated_at(job.due_at, job))
        case State.QUEUED if job.bypass_hold:
            return IndexEntry(Index.BYPASS, "", _queue_score(job))
        case State.QUEUED:
            return IndexEntry(Index.LANE, str(job.lane), _queue_score(job))
        case State.SUBMITTING:
            return IndexEntry(Index.LEASE, "", _time_or_updated_at(job.lease_until, job))
        case State.RUNNING | State.CANCELLING if job.mode is Mode.SYNC and not job.execution_id:
            return IndexEntry(Index.LEASE, "", _time_or_updated_at(job.lease_until, job))
        case State.RUNNING | State.CANCELLING:
            return IndexEntry(Index.INFLIGHT, "", _time_or_updated_at(job.next_poll_at, job))
        case State.PARKED if job.parked_as == STUCK:
            return IndexEntry(Index.INFLIGHT, "", _time_or_updated_at(job.next_poll_at, job))
        case State.PARKED | State.DEAD | State.SUCCEEDED | State.CANCELLED:
            return None


def _queue_score(job: Job) -> float:
    return queue_score(job.priority, _time_or_updated_at(job.queued_at, job))


def _time_or_updated_at(time: float | None, job: Job) -> float:
    """A time that the state promises; a record without it is due at once, never lost."""
    return job.updated_at if time is None else time
