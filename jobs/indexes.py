"""Which indexes list a job: a pure function of its record.

The store writes exactly these entries, as the difference between the entries of the old record and
those of the new one, in the same atomic step as the record. So at every moment exactly one index
makes a service watch an unfinished job, and the integrity check can prove it.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from jobs.batches import batch_of
from jobs.budgets.use import unpriced_at
from jobs.evidence.records import EvidenceFinding
from jobs.fairness import fair_key_of, key_queue_name
from jobs.job import STUCK, UNCERTAIN, Job
from jobs.lanes import Lane, keyed_score, queue_score, target_name
from jobs.start_by import expires_at
from jobs.states import ACTIVE, SETTLED, SETTLED_OR_PARKED, Mode, State
from jobs.tenants import tenant_of


class Index(StrEnum):
    """A sorted set of job ids. The value is part of its Redis key."""

    # Watched: a service reads it and moves the job on.
    DUE = "due"
    """`scheduled` and `retrying`, by due time. Read by the scheduler."""
    WAITING = "waiting"
    """`waiting`, by when the jobs that they wait for are looked at next. Read by the dependency
    keeper."""
    LANE = "lane"
    """`queued`, by lane, in queue order, those with a fair key first. Read by admission."""
    BYPASS = "pass"
    """`queued` and released past a closed hold, in queue order. Read by admission."""
    BUDGET = "budget"
    """`queued`, by the budget of a tag or batch that they wait for, in queue order. Read by the
    budget keeper."""
    LEASE = "lease"
    """`submitting` and sync runs, by the end of their lease. Read by the rescuer."""
    INFLIGHT = "inflight"
    """Async runs, by the time of their next poll. Read by the poller."""
    STATE = "state"
    """Every job by its state, scored by when it entered it. Operators watch `parked` and `dead`,
    the pruner watches `succeeded` and `cancelled`."""

    # For lists, counts and caps.
    ALL = "all"
    """Every job, by its creation time, as the next three."""
    TARGET = "target"
    TAG = "tag"
    BATCH = "batch"
    FAIR_KEY = "fair-key"
    """Jobs of a fair key, by their creation time."""
    KEY_QUEUE = "key-queue"
    """Jobs of a lane that have a fair key, by lane and key, in queue order: its turns take the
    first."""
    KEY_ACTIVE = "key-active"
    """Jobs of `ACTIVE` that have a fair key, by lane and key: counted by the cap of a key."""
    BATCH_STATE = "batch-state"
    """Jobs of a batch by their state, scored by when they entered it."""
    BATCH_OPEN = "batch-open"
    """Jobs of a batch that have not settled."""
    BATCH_SETTLED = "batch-settled"
    """Jobs of a batch that have settled, in the order in which that was written: `commit.lua` gives
    the score, which is about the time (Unix seconds) and grows with each of them."""
    CHILDREN = "children"
    """Jobs that were enqueued to wait for a job, by that job."""
    WAITING_CHILDREN = "waiting-children"
    """Those of them that are `waiting`: the end of the job makes them due."""
    TENANT = "tenant"
    """Jobs of a tenant, by their creation time."""
    OPEN = "open"
    """Jobs that have not settled, by the token whose limit counts them; scored by the bytes of
    their inputs."""
    SCHEDULE = "schedule"
    """Jobs of a schedule, by their creation time."""
    SCHEDULE_OPEN = "schedule-open"
    """Jobs of a schedule that keep its next tick from making another: not settled, not parked."""
    EXECUTION = "execution"
    """Jobs whose run the provider has, by execution id: finds the job of a webhook delivery."""
    ACTIVE = "active"
    """Jobs of a lane that are submitting, running or cancelling: counted by concurrency caps."""
    SYNC = "sync"
    """Jobs that hold a slot of a sync run: admitted as one, or with their connection open."""
    GATE = "gate"
    """Submits under way through an opening hold or a probing breaker, and runs that probe their
    lane: counted by the step of each."""
    EVIDENCE = "evidence"
    """Jobs with uncertain submits that claim rows of the provider's list, by account, scored by
    when the list is read for them next. Read by the evidence service."""
    COST = "cost"
    """Jobs with attempts whose cost only the provider's list of runs tells, by account, scored by
    when to look for it next. Read by the cost reader."""
    FINDING = "finding"
    """Jobs that are parked as uncertain, by finding, and by finding, cause and lane."""
    UNPRICED = "unpriced"
    """Jobs whose ended attempt reserved nothing of a budget, since nothing was known of its cost;
    by lane, scored by when it ended."""
    START_BY = "start-by"
    """Jobs that are cancelled unless they are sent in time, scored by when. Read by the expirer."""
    HELD = "held"
    """Jobs that a hold parked."""
    GROUP = "group"
    """Parked jobs and dead letters by state, code and lane; uncertain ones also by cause."""


WATCHED_INDEXES: Final = frozenset(
    {Index.DUE, Index.WAITING, Index.LANE, Index.BYPASS, Index.BUDGET, Index.LEASE, Index.INFLIGHT}
)
"""Indexes that a service watches. An unfinished job is in exactly one of them, unless it waits for
an operator."""

UNNAMED_INDEXES: Final = (
    Index.DUE,
    Index.WAITING,
    Index.BYPASS,
    Index.LEASE,
    Index.INFLIGHT,
    Index.SYNC,
    Index.START_BY,
    Index.ALL,
)
"""Indexes that are one set each. The others are one set for each name, such as a lane."""


class IndexEntry(NamedTuple):
    """One entry of a job: in which index, under which name, with which score."""

    kind: Index
    name: str
    score: float


def entries(job: Job) -> tuple[IndexEntry, ...]:
    """Every index entry of a job."""
    return (*_permanent_entries(job), *_state_entries(job))


def changed_entries(old: Job, new: Job) -> tuple[Sequence[IndexEntry], Sequence[IndexEntry]]:
    """The entries of both versions, without the permanent ones where these are surely equal."""
    if (
        old.created_at == new.created_at
        and old.target == new.target
        and old.kind is new.kind
        and old.tags == new.tags
        and old.batch == new.batch
        and old.fair_key == new.fair_key
    ):
        return _state_entries(old), _state_entries(new)
    return entries(old), entries(new)


def _permanent_entries(job: Job) -> list[IndexEntry]:
    """Entries that a job keeps from its first version to its last."""
    found = [
        IndexEntry(Index.ALL, "", job.created_at),
        IndexEntry(Index.TARGET, target_name(job.kind, job.target), job.created_at),
    ]
    found += [IndexEntry(Index.TAG, tag, job.created_at) for tag in job.tags]
    if (batch := batch_of(job)) is not None:
        found.append(IndexEntry(Index.BATCH, batch, job.created_at))
    if tenant := tenant_of(job.id):
        found.append(IndexEntry(Index.TENANT, tenant, job.created_at))
    found += [IndexEntry(Index.CHILDREN, parent, job.created_at) for parent in job.after]
    if job.schedule:
        found.append(IndexEntry(Index.SCHEDULE, job.schedule, job.created_at))
    if job.fair_key is not None:
        found.append(IndexEntry(Index.FAIR_KEY, fair_key_of(job), job.created_at))
    return found


def _state_entries(job: Job) -> list[IndexEntry]:
    """Entries that depend on the state of a job."""
    found = [IndexEntry(Index.STATE, job.state, job.since)]
    if (watched := watched_index(job)) is not None:
        found.append(watched)
    if job.probe_of is not None and job.state in ACTIVE:
        found.append(IndexEntry(Index.GATE, job.probe_of, job.since))
    if job.state in ACTIVE:
        found.append(IndexEntry(Index.ACTIVE, str(job.lane), job.created_at))
        if holds_sync_slot(job):
            found.append(IndexEntry(Index.SYNC, "", job.created_at))
    if job.execution_id is not None and accepts_run_updates(job):
        found.append(IndexEntry(Index.EXECUTION, job.execution_id, job.created_at))
    found += _open_entries(job)
    found += _batch_entries(job)
    if (at := unpriced_at(job)) is not None:
        found.append(IndexEntry(Index.UNPRICED, str(job.lane), at))
    found += _usage_entries(job)
    counted_by = (*job.opening_hold_ids, *job.canary_of)
    found += [IndexEntry(Index.GATE, gate_id, job.since) for gate_id in counted_by]
    if job.parked_as == UNCERTAIN and job.finding is not None and job.reason is not None:
        names = (job.finding.value, finding_name(job.finding, job.reason.group, job.lane))
        found += [IndexEntry(Index.FINDING, name, job.created_at) for name in names]
    if job.state in (State.PARKED, State.DEAD) and job.reason is not None:
        group = f"{job.state}|{job.reason.group}|{job.lane}"
        found.append(IndexEntry(Index.GROUP, group, job.since))
        if job.state is State.PARKED and job.reason.hold_id is not None:
            found.append(IndexEntry(Index.HELD, job.reason.hold_id, job.since))
    return found


def _key_entries(job: Job) -> Sequence[IndexEntry]:
    """Among which jobs of its fair key it waits for a turn, or counts against their cap."""
    name = key_queue_name(job.lane, fair_key_of(job))
    if waits_in_lane(job):
        return [IndexEntry(Index.KEY_QUEUE, name, _queue_score(job))]
    return [IndexEntry(Index.KEY_ACTIVE, name, job.created_at)] if job.state in ACTIVE else []


def _open_entries(job: Job) -> list[IndexEntry]:
    """What follows from a job not having settled: limits, its times, and jobs that wait for it."""
    found: list[IndexEntry] = []
    if (at := expires_at(job)) is not None:
        found.append(IndexEntry(Index.START_BY, "", at))
    if job.state is State.WAITING:
        found += [IndexEntry(Index.WAITING_CHILDREN, one, job.created_at) for one in job.after]
    if job.fair_key is not None:
        found += _key_entries(job)
    if job.counted_for and job.state not in SETTLED:
        found.append(IndexEntry(Index.OPEN, job.counted_for, job.input_bytes))
    if job.schedule and job.state not in SETTLED_OR_PARKED:
        found.append(IndexEntry(Index.SCHEDULE_OPEN, job.schedule, job.created_at))
    return found


def _batch_entries(job: Job) -> list[IndexEntry]:
    """In which state the batch of a job counts it, and whether it has settled."""
    if (batch := batch_of(job)) is None:
        return []
    return [
        IndexEntry(Index.BATCH_STATE, batch_state_name(batch, job.state), job.since),
        IndexEntry(Index.BATCH_SETTLED, batch, job.since)
        if job.state in SETTLED
        else IndexEntry(Index.BATCH_OPEN, batch, job.created_at),
    ]


def batch_state_name(batch: str, state: State) -> str:
    """The name of the index of a batch's jobs in a state; `batch` as it is stored."""
    return f"{batch}|{state}"


def _usage_entries(job: Job) -> list[IndexEntry]:
    """What the provider's list of runs is read for: findings and costs."""
    found: list[IndexEntry] = []
    times = [one.check_at for one in job.uncertain_submits if one.check_at is not None]
    if times:
        found.append(IndexEntry(Index.EVIDENCE, job.account, min(times)))
    if job.cost_check_at is not None:
        found.append(IndexEntry(Index.COST, job.account, job.cost_check_at))
    return found


def finding_name(finding: EvidenceFinding, group: str, lane: Lane) -> str:
    """The name of the index of a lane's uncertain jobs of one cause with a finding."""
    return f"{finding}|{group}|{lane}"


def accepts_run_updates(job: Job) -> bool:
    """Whether a poll or a webhook about its run can still move the job."""
    if job.state in (State.RUNNING, State.CANCELLING):
        return True
    is_polled = job.execution_id is not None and job.next_poll_at is not None
    return job.parked_as == STUCK or (job.parked_as == UNCERTAIN and is_polled)


def holds_sync_slot(job: Job) -> bool:
    """Whether an active job counts as a sync run: it was admitted as one, or its run is one."""
    return job.mode is Mode.SYNC and job.execution_id is None


def waits_in_lane(job: Job) -> bool:
    """Whether it is queued where admission reads it by lane."""
    return job.state is State.QUEUED and not job.bypass_hold and job.waits_for_budget is None


def watched_index(job: Job) -> IndexEntry | None:
    """The entry that a service watches; None if the job is settled or waits for an operator."""
    match job.state:
        case State.SCHEDULED | State.RETRYING:
            return IndexEntry(Index.DUE, "", _time_or_updated_at(job.due_at, job))
        case State.WAITING:
            return IndexEntry(Index.WAITING, "", _time_or_updated_at(job.parents_check_at, job))
        case State.QUEUED:
            return _queued_index(job)
        case State.SUBMITTING:
            return IndexEntry(Index.LEASE, "", _time_or_updated_at(job.lease_until, job))
        case State.RUNNING | State.CANCELLING if job.mode is Mode.SYNC and not job.execution_id:
            return IndexEntry(Index.LEASE, "", _time_or_updated_at(job.lease_until, job))
        case State.RUNNING | State.CANCELLING:
            return IndexEntry(Index.INFLIGHT, "", _time_or_updated_at(job.next_poll_at, job))
        case State.PARKED if accepts_run_updates(job):
            return IndexEntry(Index.INFLIGHT, "", _time_or_updated_at(job.next_poll_at, job))
        case State.PARKED | State.DEAD | State.SUCCEEDED | State.CANCELLED:
            return None
        case _:
            assert_never(job.state)


def _queued_index(job: Job) -> IndexEntry:
    """Where a queued job is: in its lane, with a budget that it waits for, or past a hold."""
    score = _queue_score(job)
    if job.waits_for_budget is not None:
        return IndexEntry(Index.BUDGET, job.waits_for_budget, score)
    if job.bypass_hold:
        return IndexEntry(Index.BYPASS, "", score)
    score = score if job.fair_key is None else keyed_score(score)
    return IndexEntry(Index.LANE, str(job.lane), score)


def _queue_score(job: Job) -> float:
    return queue_score(job.priority, _time_or_updated_at(job.queued_at, job))


def _time_or_updated_at(time: float | None, job: Job) -> float:
    """`time`, which the state requires. A damaged record without it is due at once, never lost."""
    return job.updated_at if time is None else time
