# Written by `make clients` from /openapi.json. Do not edit.

"""What the API reads and answers. Times are `datetime` in UTC.

An enumeration may have other values than those named here: a newer server may know more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypedDict, Union


BalanceChange: TypeAlias = Union[Literal["enough", "low"], str]
"""What an event of a balance is about."""

BatchState: TypeAlias = Union[Literal["complete", "open", "sealed"], str]
"""Whether a batch takes more jobs, and whether all of them have settled."""

BreakerCause: TypeAlias = Union[Literal["target_failure", "unknown_outcome", "unreachable"], str]
"""What trips a breaker."""

BreakerState: TypeAlias = Union[Literal["closed", "open", "probing"], str]
"""What a breaker lets through: everything, nothing, or `step` submits at once."""

BudgetChange: TypeAlias = Union[Literal["closed", "removed", "reopened", "set", "warning"], str]
"""What an event of a budget is about."""

BudgetPeriod: TypeAlias = Union[Literal["day", "month", "total"], str]
"""How long a budget lasts before it starts anew."""

BudgetState: TypeAlias = Union[Literal["closed", "counting", "open", "unreadable"], str]
"""Whether a budget admits jobs."""

CallbackState: TypeAlias = Union[Literal["delivered", "failed", "pending"], str]
"""Where a callback stands."""

CallbackType: TypeAlias = Union[
    Literal[
        "batch.completed",
        "batch.stalled",
        "job.cancelled",
        "job.dead",
        "job.parked",
        "job.succeeded",
    ],
    str,
]
"""What happened; the `type` of the body."""

CatchUp: TypeAlias = Union[Literal["all", "last", "none"], str]
"""What becomes of ticks that no worker saw in time."""

CostSource: TypeAlias = Union[Literal["estimate", "usage"], str]
"""Who says what an attempt cost, where it was not the answer to a poll or a sync run."""

CreditWarningCause: TypeAlias = Union[
    Literal["balance_low", "budget_closed", "budget_near", "budget_unreadable"], str
]
"""What a warning is about."""

CreditsBy: TypeAlias = Union[Literal["account", "batch", "day", "tag", "target"], str]
"""What the rows of a report are."""

Durability: TypeAlias = Union[Literal["confirmed", "unconfirmed"], str]
"""Whether replicas have a write, where `ReplicaWait` asks for that."""

EvidenceFinding: TypeAlias = Union[
    Literal["ambiguous", "not_started", "pending", "started", "unknown"], str
]
"""What the provider's list of runs says about an uncertain submit."""

HoldPhase: TypeAlias = Union[Literal["closed", "opening"], str]
"""Whether a hold lets submits through: none (`closed`), or some (`opening`)."""

Kind: TypeAlias = Union[Literal["model", "workflow"], str]
"""What a job runs. Each kind is a route of the provider's API."""

Mode: TypeAlias = Union[Literal["async", "sync"], str]
"""How a run is submitted: `async` is submitted and polled, `sync` is one open connection."""

OnUncertain: TypeAlias = Union[Literal["park", "retry", "reconcile"], str]
"""What a job asks for when the outcome of its submit is unknown."""

Overlap: TypeAlias = Union[Literal["enqueue", "skip"], str]
"""What becomes of a tick while an earlier run of its schedule is not finished."""

Role: TypeAlias = Union[Literal["enqueue", "operate", "read", "watch"], str]
"""What the holder of an API token may do. Each role includes those before it."""

ScheduleChange: TypeAlias = Union[
    Literal["disabled", "enabled", "id_taken", "missed", "overlap", "refused", "removed", "set"],
    str,
]
"""What the event stream says of a schedule."""

SeriesWindow: TypeAlias = Union[Literal["1h", "24h", "5m"], str]
"""How far back a chart goes."""

SkipCause: TypeAlias = Union[Literal["id_taken", "missed", "overlap", "refused"], str]
"""Why a tick made no job."""

State: TypeAlias = Union[
    Literal[
        "cancelled",
        "cancelling",
        "dead",
        "parked",
        "queued",
        "retrying",
        "running",
        "scheduled",
        "submitting",
        "succeeded",
        "waiting",
    ],
    str,
]
"""The state of a job. Settled states are past participles, passing ones end in -ing."""

WarningCode: TypeAlias = Union[
    Literal["missing_field", "unknown_field", "workflow_archived", "workflow_not_found"], str
]
"""What is wrong with a request for a run of a workflow."""


@dataclass(frozen=True, kw_only=True)
class ActionBody:
    """The operator's note on an action."""

    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One submit that reached the provider, or may have reached it."""

    number: int
    mode: Mode
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    http_status: int | None
    code: str | None
    message: str | None
    provider_status: str | None
    execution_id: str | None
    request_id: str | None
    polls: int
    cost: float | None
    """credits."""
    cost_source: CostSource | None
    """who says what it cost: usage (the provider's list of runs), estimate (nobody yet;
    unknown without a cost), or null for the answer to a poll or a sync run.
    """


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One action of an operator."""

    id: str
    at: datetime
    by: str
    act: str
    """as release, bulk_requeue, hold, login, login_failed."""
    on: str
    """a job, a scope, a filter as JSON, or an address."""
    note: str
    jobs: int
    """how many jobs it changed."""
    changed: dict[str, Any] | None
    """where inputs were changed: the `paths`, and with KNOUDS_PAYLOAD_KEYS a keyed `digest` of
    the new inputs or the patch; no values.
    """


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """Actions of operators, newest first. A page can be short and still have a next one."""

    items: list[AuditEntry]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The credits of an account as a person entered them."""

    credits: float
    entered_at: datetime
    by: str


@dataclass(frozen=True, kw_only=True)
class BalanceBody:
    """The credits of an account, as the provider's billing page shows them."""

    credits: float
    """a number from 0 to 1e9."""
    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    account: str | None = None
    """an account label."""


@dataclass(frozen=True, kw_only=True)
class BalanceEvent:
    """The data of an event `balance`: whether an account may run out of credits within the
    hour.
    """

    account: str
    change: BalanceChange
    left: float | None
    """credits that are left of the entered balance."""
    ahead: float
    """what runs and what may start within the hour is likely to cost."""
    dry_at: datetime | None
    """when nothing is left at this pace; null where unknown."""
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch and the progress of its jobs. Counts are exact."""

    name: str
    """as the app of its tenant knows it; for a token without a tenant <tenant>~<name>, where
    it has one.
    """
    tenant: str
    state: BatchState
    """open: more jobs may join; sealed: no more may, and some have not settled; complete: all
    have settled, until one of them is requeued.
    """
    stalled: bool
    """every job that has not settled is parked: it waits for a person."""
    total: int
    """jobs that joined it, pruned ones included."""
    states: dict[str, int]
    """jobs in each state."""
    pruned: int
    """of `total`: no longer on record."""
    cost: float
    """credits that its attempts cost so far."""
    eta_s: float | None
    """seconds until all jobs but the parked ones have settled, at the rate of the last ten
    minutes; null where nothing succeeded in them.
    """
    created_at: datetime | None
    """null where jobs name it, and no more."""
    created_by: str
    sealed_at: datetime | None
    cancelled_at: datetime | None
    completions: int
    """how often all its jobs had settled once it was sealed."""
    last_settled_at: datetime | None
    """when one of its jobs settled last."""
    metadata: dict[str, Any] | None
    """null for a role that may not see payloads."""
    note: str
    callback_url: str | None
    """null for none, and for a role that may not see payloads."""
    failures: list[BatchFailure] | None = None
    """codes of parked jobs and dead letters, of the latest 500 of each, the most frequent
    first; absent in lists.
    """


@dataclass(frozen=True, kw_only=True)
class BatchAction:
    """A batch after an action on its jobs, and what became of them."""

    batch: Batch
    jobs: BulkAction


@dataclass(frozen=True, kw_only=True)
class BatchBody:
    """A batch to create. The same again changes nothing."""

    name: str
    """1 to 128 letters, digits and . _ : @ / + = -."""
    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    metadata: dict[str, Any] | None = None
    """a JSON object of at most 4 KiB that is shown with it."""
    callback_url: str | None = None
    """a URL of a host in KNOUDS_CALLBACK_HOSTS that hears when it is complete or stalled."""
    budget: float | None = None
    """credits that all its runs may cost, more than 0."""


@dataclass(frozen=True, kw_only=True)
class BatchCreated:
    """A batch, for a token that may not see more of it."""

    name: str
    state: BatchState


@dataclass(frozen=True, kw_only=True)
class BatchFailure:
    """A cause of failures in a batch."""

    code: str
    jobs: int


@dataclass(frozen=True, kw_only=True)
class BatchPage:
    """Batches, the most recently used first."""

    items: list[Batch]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """One line of the results of a batch: a job that has settled."""

    cursor: str
    """the position behind it."""
    id: str
    state: State
    metadata: dict[str, Any] | None
    """what the app gave the job; null where it gave nothing."""
    result: Any
    """the provider's result, unchanged; null where there is none."""
    cost: float | None
    """credits of all its attempts."""
    reason: Reason | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """One thing a job waits for."""

    kind: str
    text: str
    action: str
    hold_id: str | None
    breaker_id: str | None
    until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """A gate that opens and closes by itself, by what the provider answers."""

    id: str
    scope: str
    cause: BreakerCause
    state: BreakerState
    text: str
    """scope, cause, last error and next probe in one line."""
    action: str
    """what an operator can do."""
    since: datetime | None
    """when it tripped; null while it is closed."""
    last_error: BreakerError | None
    probe_error: str | None
    """why the last probe call failed; null if it did not."""
    failures: int
    """counted since it was last without any."""
    trips: int
    """how often it tripped since it was first seen."""
    next_probe_at: datetime | None
    """while it is open."""
    step: int
    """while probing: submits at once."""
    workers: list[str]
    """the workers it stops, where it does not stop all: they cannot connect."""
    queued: int | None
    """jobs queued in its scope; null where Redis did not answer after an action."""


@dataclass(frozen=True, kw_only=True)
class BreakerError:
    """The last error that a breaker counted."""

    code: str
    http_status: int | None
    message: str
    at: datetime | None


@dataclass(frozen=True, kw_only=True)
class BreakerEvent:
    """The data of an event `breaker`: it changed its state, its step or its next probe."""

    id: str
    """GET /v1/breakers has the rest."""
    scope: str
    cause: BreakerCause
    state: BreakerState
    at: datetime
    """when it came to its state."""


@dataclass(frozen=True, kw_only=True)
class BreakerPage:
    """Breakers: open ones first, then probing ones, then those that count failures."""

    items: list[Breaker]
    next_cursor: None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit in credits, and what is used of it in the present period. Amounts are credits."""

    name: str
    scope: str
    """an account, account/kind, account/kind/target, tag:NAME or batch:NAME; empty where its
    record cannot be read: it stops every job then.
    """
    period: BudgetPeriod
    limit: float
    time_zone: str
    """days and months begin at midnight there."""
    spent: float
    """what ended attempts cost; their estimate where that is not known yet."""
    reserved: float
    """what attempts may cost that run, or whose outcome is unknown."""
    left: float
    """what may still be reserved; 0 where it is exceeded."""
    exceeded_by: float
    """what is spent and reserved above the limit, else 0: runs cost more than their estimate,
    or it was set lower than what was used.
    """
    starts_at: datetime | None
    """when the present period began; null for a total."""
    resets_at: datetime | None
    """when the next period begins; null for a total."""
    state: BudgetState
    """open; closed: nothing is left, or less than a waiting job is expected to cost; counting:
    what was in flight when it was set is counted, and nothing is admitted for some seconds;
    unreadable: see `error`.
    """
    action: str
    """what an operator can do where it admits nothing, else empty."""
    error: str
    """why its record cannot be read; empty where it can be."""
    waiting: int
    """queued jobs that it keeps from running; a job counts with each budget that has no room
    for it, of tags and batches with one of them.
    """
    set_by: str
    set_at: datetime | None
    """null where its record cannot be read."""
    note: str


@dataclass(frozen=True, kw_only=True)
class BudgetBody:
    """A limit in credits. What is spent of it counts on unless scope, period or zone change."""

    scope: str
    """an account, account/kind, account/kind/target, tag:NAME or batch:NAME."""
    period: BudgetPeriod
    """day, month or total."""
    limit: float
    """a number of credits more than 0 and at most 1,000,000,000."""
    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    time_zone: str | None = None
    """the name of a time zone, as Europe/Berlin: days and months begin at midnight there."""


@dataclass(frozen=True, kw_only=True)
class BudgetEvent:
    """The data of an event `budget`: it was set or removed, is nearly used up, closed,
    reopened.
    """

    name: str
    scope: str
    change: BudgetChange
    percent: int
    """what is spent and reserved of the limit, in percent, rounded down."""
    at: datetime
    resets_at: datetime | None
    """when its next period begins; null for a total."""


@dataclass(frozen=True, kw_only=True)
class BudgetForecast:
    """What is ahead of one budget. Amounts are credits, and estimates."""

    name: str
    scope: str
    period: BudgetPeriod
    limit: float
    spent: float
    reserved: float
    resets_at: datetime | None
    """when its next period begins; null for a total."""
    per_hour: float | None
    """credits an hour that it spent in the last hour, or since its period began; null in the
    first minute, and where no worker has noted it.
    """
    reached_at: datetime | None
    """when its limit is spent at this pace; null where that is unknown, or its next period
    begins before.
    """
    waiting_jobs: int
    """queued jobs of its scope; of a tag or batch those that wait for it."""
    waiting_cost: float | None
    """what these are likely to cost; null where it is unknown."""
    covers_waiting: bool | None
    """whether what is left is enough for these jobs."""


@dataclass(frozen=True, kw_only=True)
class BudgetPage:
    """Budgets, by name."""

    items: list[Budget]
    next_cursor: None


@dataclass(frozen=True, kw_only=True)
class BulkAction:
    """What became of the jobs. `matched` = `done` + `skipped` + `failed`."""

    matched: int
    """jobs found; with a limit, until it was reached."""
    done: int
    """in a dry run: would have been done."""
    skipped: int
    """left as they are, see skipped_why."""
    skipped_why: dict[str, int]
    """reason and number of jobs."""
    failed: int
    errors: list[BulkError]
    """the first 20 that failed."""
    est_cost: float | None
    """credits that runs of the jobs done cost, without those the provider has already; null
    where that is unknown of a target.
    """
    dry_run: bool
    holds_released: int | None = None
    """present for a release only; each lets one canary through."""
    deadlines_extended: int | None = None
    """present for a release only: of those done, stuck runs that are polled for another
    deadline; nothing is sent for them.
    """
    inputs_lost: int | None = None
    """present for a dry run of an action that sends: of those done, jobs whose inputs Redis
    lost; they would park as inputs_lost and are not sent.
    """
    ids: list[str] | None = None
    """present for a dry run with `list_ids`: the first 1,000 jobs that would be done."""
    warnings: list[BulkWarning] | None = None
    """about patched inputs of jobs done, the first 20 different ones; absent if nothing is
    known to be wrong.
    """


@dataclass(frozen=True, kw_only=True)
class BulkActionBody:
    """An action on every job that a filter matches."""

    filter: JobFilter
    """an object with the fields of GET /v1/jobs, ids, or {"all": true}."""
    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    dry_run: bool | None = None
    """true to count only, or false."""
    list_ids: bool | None = None
    """true to list the jobs of a dry run by id, or false."""
    limit: int | None = None
    """a whole number from 1 to 100000: act on so many jobs, the newest first."""


@dataclass(frozen=True, kw_only=True)
class BulkEnqueue:
    """One result for each request, in the same order."""

    results: list[BulkResult]


@dataclass(frozen=True, kw_only=True)
class BulkEnqueueBody:
    """Many job requests. Each is read by itself, so that an invalid one affects no other."""

    jobs: list[JobRequestBody]
    """an array of at most 1000 job requests."""


@dataclass(frozen=True, kw_only=True)
class BulkError:
    """A job that the action failed for."""

    id: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class BulkRequeueBody:
    """Dead letters to requeue, with changed inputs where a patch is given."""

    filter: JobFilter
    """an object with the fields of GET /v1/jobs, ids, or {"all": true}."""
    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    dry_run: bool | None = None
    """true to count only, or false."""
    list_ids: bool | None = None
    """true to list the jobs of a dry run by id, or false."""
    limit: int | None = None
    """a whole number from 1 to 100000: act on so many jobs, the newest first."""
    patch_inputs: dict[str, Any] | None = None
    """a JSON object, a merge patch (RFC 7396) for the inputs of each job: null removes a
    field.
    """


@dataclass(frozen=True, kw_only=True)
class BulkResult:
    """What became of one request: `status` is what a call of its own would have returned."""

    id: str | None
    status: int
    error: Problem | None = None
    """present for refused requests only."""
    durability: Durability | None = None
    """of an enqueue, where KNOUDS_REDIS_WAIT_REPLICAS is set: unconfirmed where too few
    replicas have it in time, so that a failover may lose it; send it again with the same id
    to ask anew.
    """
    est_cost: float | None = None
    """of an enqueue: the credits that its run is likely to cost; null if unknown."""
    warnings: list[EnqueueWarning] | None = None
    """of an enqueue, and of a requeue with inputs: what is not as the provider lists it;
    absent if nothing is known to be wrong (KNOUDS_ENQUEUE_CHECKS).
    """


@dataclass(frozen=True, kw_only=True)
class BulkWarning:
    """What is not as the provider lists it, of the patched inputs of some jobs."""

    code: WarningCode
    message: str
    field: str
    jobs: int


@dataclass(frozen=True, kw_only=True)
class Callback:
    """An event of a job or a batch on its way to a receiver."""

    id: str
    """`webhook-id`, the same in every try."""
    type: CallbackType
    job: str | None
    """the id of its job; null for one of a batch."""
    batch: str | None
    """the name of its batch; null for one of a job."""
    sequence: int
    """larger is newer, among the events of one job or batch."""
    url: str
    host: str
    """scheme, host and port, which limits go by."""
    state: CallbackState
    """pending: it is sent, now or later; delivered: the receiver answered 2xx; failed: it is
    tried no more, unless it is resent.
    """
    created_at: datetime
    """when it happened."""
    since: datetime
    """since when it is in its state, or is tried, if pending."""
    tries: int
    tried_at: datetime | None
    """when its last try ended."""
    next_try_at: datetime | None
    """null unless it is pending; a host that is down is tried later."""
    status: int | None
    """HTTP status of the last try; null without an answer."""
    error: str
    """what was wrong with the last try, else empty."""


@dataclass(frozen=True, kw_only=True)
class CallbackHost:
    """A host that callbacks could not reach several times in a row."""

    host: str
    since: datetime
    next_probe_at: datetime
    failures: int
    """tries in a row that found it down."""
    error: str


@dataclass(frozen=True, kw_only=True)
class CallbackPage:
    """Callbacks, newest first. A page can be short and still have a next one."""

    items: list[Callback]
    next_cursor: str | None
    hosts_down: list[CallbackHost]
    """they get one try now and then; empty for a token of a tenant."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sends a request, and what they may do."""

    name: str
    """as the audit log names it; `local` without tokens."""
    role: Role
    tenant: str
    """the tenant whose jobs it makes and sees, else empty."""
    own: bool
    """whether it may read the jobs of its tenant in any role."""
    accounts: list[str] | None
    """those it may enqueue for; null: all."""
    kinds: list[str] | None
    """those it may enqueue; null: all."""
    targets: list[str] | None
    """those it may enqueue, where `*` stands for any characters; null: all."""
    operations: list[str]
    """the ids of the operations of this document that it may call."""


@dataclass(frozen=True, kw_only=True)
class Cap:
    """How many jobs each lane of a scope may have submitted or running at once."""

    scope: str
    """an account, account/kind, account/kind/target, or * for every lane."""
    cap: int
    """what counts now; the narrowest scope of a lane applies."""
    source: Literal["operator", "setting"] | str
    """setting: KNOUDS_LANE_CAPS."""
    default: int | None
    """what KNOUDS_LANE_CAPS says for the scope, else null."""
    set_at: datetime | None
    set_by: str
    note: str


@dataclass(frozen=True, kw_only=True)
class CapBody:
    """The cap of every lane of a scope."""

    cap: int
    """a whole number from 1 to 1000000; to stop a scope, place a hold."""
    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""


@dataclass(frozen=True, kw_only=True)
class CapPage:
    """Every cap, by scope."""

    items: list[Cap]
    next_cursor: None


@dataclass(frozen=True, kw_only=True)
class CreditWarning:
    """Something about credits that needs an operator."""

    cause: CreditWarningCause
    name: str
    """of the budget, or the account."""
    text: str
    action: str
    """what to do."""


@dataclass(frozen=True, kw_only=True)
class Credits:
    """What runs cost between two days, both included."""

    by: CreditsBy
    since: str
    until: str
    items: list[CreditsRow]
    """days in their order, other rows by credits; tags overlap."""
    total: CreditsRow
    """of all charges of these days."""
    more: int
    """further rows, with fewer credits: ask for fewer days to see them."""


@dataclass(frozen=True, kw_only=True)
class CreditsRow:
    """What one day, account, target, tag or batch cost."""

    key: str
    """a day (UTC), account, `kind/target`, tag or batch."""
    credits: float
    """credits, estimates included."""
    charges: int
    """attempts that cost something, or may have."""
    estimated: float
    """the part of `credits` whose cost the provider has not named yet."""
    usage: float
    """the part of `credits` that the provider's list of runs named."""
    retries: float
    """the part of attempts that another attempt of the job followed."""
    dead: float
    """the part of jobs that are dead letters, or were discarded."""
    unknown: int
    """charges whose cost is unknown and has no estimate."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """An OpenAPI document."""

    openapi: str
    info: dict[str, str]
    servers: list[dict[str, str]]
    tags: list[dict[str, str]]
    paths: dict[str, dict[str, Any]]
    components: dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class EditBody:
    """New values of some fields of a job; fields that are absent or null stay."""

    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    priority: int | None = None
    """a whole number from -100 to 100, higher first."""
    tags: list[str] | None = None
    """all its tags, at most 20 texts of 1 to 64 letters, digits and . _ : @ / + = -."""
    run_at: str | None = None
    """when to run it, an RFC 3339 time with a zone, or "now"."""
    start_by: str | None = None
    """until when it may be sent, an RFC 3339 time with a zone, or "none": whenever that is."""


@dataclass(frozen=True, kw_only=True)
class End:
    """The data of an event `end`, the last one: the token or login has ended, or was changed."""

    why: Literal["access"] | str


@dataclass(frozen=True, kw_only=True)
class EnqueueWarning:
    """Why a run is likely to fail, by the provider's list of workflows and what they take."""

    code: WarningCode
    message: str
    field: str
    """the field at fault, as target or inputs.prompt."""


@dataclass(frozen=True, kw_only=True)
class EnqueuedJob:
    """What a token of the role `enqueue` is told of a job that exists already."""

    id: str
    state: State
    created_at: datetime
    durability: Durability | None = None
    """of an enqueue, where KNOUDS_REDIS_WAIT_REPLICAS is set: unconfirmed where too few
    replicas have it in time, so that a failover may lose it; send it again with the same id
    to ask anew.
    """
    est_cost: float | None = None
    """of an enqueue: the credits that its run is likely to cost; null if unknown."""
    warnings: list[EnqueueWarning] | None = None
    """of an enqueue, and of a requeue with inputs: what is not as the provider lists it;
    absent if nothing is known to be wrong (KNOUDS_ENQUEUE_CHECKS).
    """


@dataclass(frozen=True, kw_only=True)
class ErasureBody:
    """Which payloads may be erased."""

    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    force: bool | None = None
    """true to erase those of a dead or parked job, too: it cannot run then."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of an uncertain submit."""

    finding: EvidenceFinding | None
    """what the provider's list of runs says; null where it is not read."""
    is_final: bool
    """whether only a new row can change the finding."""
    note: str
    """why it is pending, unknown or ambiguous."""
    rows: list[UsageRow]
    """rows that may be its run."""
    checked_at: datetime | None
    """when the list was last read for it."""
    next_check_at: datetime | None
    sent_at: datetime | None
    ended_at: datetime | None
    http_status: int | None
    message: str
    executions: list[OrphanExecution]
    """runs of the same target that webhooks reported after the submit and that belong to no
    job: check one, then resolve the job with its `execution_id`.
    """


@dataclass(frozen=True, kw_only=True)
class FairKey:
    """A fair key that has jobs waiting."""

    key: str
    """one of a tenant as `<tenant>~<key>`."""
    queued: int


@dataclass(frozen=True, kw_only=True)
class FairKeys:
    """The fair keys that have jobs waiting in a lane."""

    waiting: int
    """how many there are."""
    at_cap: int
    """of them, those that wait for the end of a run."""
    busiest: list[FairKey]
    """those with the most jobs, among the next 1,000; empty below role read, and for tenants."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is ahead of one account. Amounts are credits, and estimates."""

    account: str
    waiting_jobs: int
    """queued jobs."""
    waiting_cost: float | None
    """what these are likely to cost; null where it is unknown."""
    per_hour: float
    """credits that became known in the last hour."""
    balance: Balance | None
    left: float | None
    """what is left of the balance."""
    dry_at: datetime | None
    """when nothing is left at this pace; null where unknown."""
    covers_waiting: bool | None
    """whether what is left is enough for the queued jobs."""


@dataclass(frozen=True, kw_only=True)
class ForecastPage:
    """What is ahead of each account, and of each budget that can be read."""

    items: list[Forecast]
    next_cursor: None
    budgets: list[BudgetForecast]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parked jobs or dead letters of one code and lane."""

    state: State
    code: str
    cause: str | None
    """of uncertain jobs: why the outcome is unknown, as `HTTP_502`; else null."""
    kind: Kind
    target: str
    account: str
    count: int
    oldest: datetime
    message: str
    action: str
    action_url: str | None
    est_cost: float | None
    """credits, see the setting KNOUDS_DEFAULT_ESTIMATE; null where unknown."""
    findings: dict[str, int]
    """of an uncertain group: how many of its jobs have each finding."""
    newer: bool
    """a newer version wrote the job that is in it longest: no action fits it."""


@dataclass(frozen=True, kw_only=True)
class GroupPage:
    """Groups, the largest first."""

    items: list[Group]
    next_cursor: None


@dataclass(frozen=True, kw_only=True)
class HeldBy:
    """The hold that a waiting job is behind, and what an operator can do about it."""

    hold_id: str
    scope: str
    code: str
    action: str
    action_url: str | None


@dataclass(frozen=True, kw_only=True)
class History:
    """What happened over time, oldest first; the last interval is not over yet."""

    window: SeriesWindow
    points: list[HistoryPoint]


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """What happened in one interval."""

    at: datetime
    """when it began."""
    step_s: int
    enqueued: float
    succeeded: float
    dead: float
    cancelled: float
    parked: float
    submits: float
    polls: float
    rate_limited: float
    """responses with status 429."""
    credits: float
    """cost of runs, as far as the provider reported it."""
    delay_p50_s: float | None
    """from the end of a run to its record, at most; null where none ended."""
    delay_p95_s: float | None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A closed or opening gate over a scope."""

    id: str
    scope: str
    code: str
    phase: HoldPhase
    http_status: int | None
    message: str
    action: str
    action_url: str | None
    created_at: datetime
    created_by: str
    note: str
    hits: int
    relapses: int
    step: int
    """while opening: submits at once, 1, 2, 4, 8 …."""
    accepted: int
    released_at: datetime | None
    released_by: str
    jobs: int | None
    """jobs it parked; null where Redis did not answer after an action."""
    newer: bool
    """a newer version wrote it: it cannot be released."""


@dataclass(frozen=True, kw_only=True)
class HoldBody:
    """A scope to pause."""

    scope: str
    """default, default/model or default/model/gpt-image-2."""
    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""


@dataclass(frozen=True, kw_only=True)
class HoldPage:
    """Holds, oldest first."""

    items: list[Hold]
    next_cursor: None


@dataclass(frozen=True, kw_only=True)
class Index:
    """The name and version of the service, and where its API is described."""

    service: str
    version: str
    openapi: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job. In lists `inputs` and `result` are null."""

    id: str
    """as the app of its tenant knows it; for a token without a tenant <tenant>~<id>, where it
    has one.
    """
    tenant: str
    """the tenant of the token that made it, else empty."""
    kind: Kind
    target: str
    account: str
    state: State
    reason: Reason | None
    held_by: HeldBy | None
    """while it waits: the hold that closes its lane."""
    waits_for_budget: str | None
    """while it is queued: the budget of a tag or batch that keeps it out of its lane; null for
    a token of a tenant. Budgets of its lane: see `why`.
    """
    priority: int
    tags: list[str]
    batch: str | None
    fair_key: str | None
    """whose turns it takes in its lane, see docs/fairness.md; null for none."""
    schedule: str | None
    """the schedule that it is a run of; null for none."""
    callback_url: str | None
    """who hears of it, see docs/callbacks.md; null for nobody."""
    metadata: dict[str, Any] | None
    """what its app gave it, also in lists; null for a role that may not see payloads, and once
    they were erased.
    """
    after: list[str]
    """the jobs that have to succeed before it is queued."""
    inputs: dict[str, Any] | None
    result: Any
    """the provider's result, unchanged; null before it is there."""
    cost: float | None
    """credits of all its attempts, as far as known; without estimates."""
    estimate: float | None
    """credits that its present or next attempt is expected to cost; set when a worker admits
    it, null before and where nothing is known.
    """
    mode: Mode | None
    attempt: int
    max_attempts: int
    execution_id: str | None
    request_id: str | None
    created_at: datetime
    scheduled_for: datetime | None
    start_by: datetime | None
    """it is cancelled unless it is sent by then; null for never."""
    submitted_at: datetime | None
    eta: datetime | None
    """while running: half of similar runs end by then; null where unknown."""
    eta_late: datetime | None
    """while running: 90 % of similar runs end by then."""
    finished_at: datetime | None
    updated_at: datetime
    attempts: list[Attempt]
    events: list[JobEvent]
    finding: EvidenceFinding | None
    """of an uncertain submit: what the provider's list of runs says about it."""
    payloads_hidden: bool
    """true where inputs and result are null because the token's role may not see them, or
    because Redis did not answer after an action.
    """
    payload_problem: Literal["payload_unreadable", "payloads_erased"] | str | None
    """why inputs or result are null though they were stored: they were erased, or no key of
    KNOUDS_PAYLOAD_KEYS reads them; null in lists.
    """
    durability: Durability | None = None
    """of an enqueue, where KNOUDS_REDIS_WAIT_REPLICAS is set: unconfirmed where too few
    replicas have it in time, so that a failover may lose it; send it again with the same id
    to ask anew.
    """
    est_cost: float | None = None
    """of an enqueue: the credits that its run is likely to cost; null if unknown."""
    warnings: list[EnqueueWarning] | None = None
    """of an enqueue, and of a requeue with inputs: what is not as the provider lists it;
    absent if nothing is known to be wrong (KNOUDS_ENQUEUE_CHECKS).
    """


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """One line of a job's history."""

    at: datetime
    event: str
    by: str
    note: str


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs an action is for: those that match every field given, or `all` of them."""

    all: bool | None = None
    """true, as the only field: every job in a state the action is for."""
    ids: list[str] | None = None
    """1 to 1000 job ids."""
    state: State | None = None
    """one of scheduled, waiting, queued, submitting, running, retrying, parked, cancelling,
    succeeded, dead, cancelled.
    """
    kind: Kind | None = None
    """model or workflow."""
    target: str | None = None
    """a target, as gpt-image-2."""
    code: str | None = None
    """a reason's code, as uncertain."""
    cause: str | None = None
    """why the outcome of an uncertain job is unknown, as HTTP_502."""
    tag: str | None = None
    """one tag."""
    batch: str | None = None
    """one batch; one of a tenant, for others, as <tenant>~<batch>."""
    fair_key: str | None = None
    """one fair key; one of a tenant, for others, as <tenant>~<key>."""
    after: str | None = None
    """the id of a job that they were enqueued to wait for."""
    account: str | None = None
    """an account label."""
    finding: EvidenceFinding | None = None
    """of jobs parked as uncertain, one of pending, not_started, started, ambiguous, unknown."""
    tenant: str | None = None
    """a tenant's name."""
    since: datetime | None = None
    """created at or after: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z."""
    until: datetime | None = None
    """created before: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z."""


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """Jobs, newest first. A page can be short and still have a next one."""

    items: list[Job]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class JobRequestBody:
    """A job request. A wrong value is answered with the description of its field."""

    kind: Kind
    """ "model" or "workflow"."""
    target: str
    """a model's internal name or a workflow's slug: lowercase letters, digits and hyphens, as
    gpt-image-2.
    """
    inputs: dict[str, Any]
    """a JSON object, the inputs of the run."""
    id: str | None = None
    """1 to 128 letters, digits and . _ : @ - that start with a letter or digit; the same id
    never makes a second job.
    """
    priority: int | None = None
    """a whole number from -100 to 100, higher first."""
    tags: list[str] | None = None
    """at most 20 texts of 1 to 64 letters, digits and . _ : @ / + = -."""
    batch: str | None = None
    """1 to 128 letters, digits and . _ : @ / + = -."""
    fair_key: str | None = None
    """1 to 128 letters, digits and . _ : @ / + = -, a tenant or user: in a lane, keys take
    turns.
    """
    run_at: datetime | None = None
    """when to run it, within ten years: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z."""
    delay_s: float | None = None
    """seconds from now, from 0 to ten years; run_at names a time instead."""
    start_by: datetime | None = None
    """it is cancelled unless it is sent by this time, within ten years: an RFC 3339 time with
    a zone, as 2030-01-31T09:30:00Z.
    """
    max_attempts: int | None = None
    """a whole number from 1 to 100."""
    deadline_s: float | None = None
    """seconds above 0, at most 366 days, that a submitted run may take."""
    on_uncertain: OnUncertain | None = None
    """ "park", "reconcile", or "retry", which may pay for a run twice; KNOUDS_ON_UNCERTAIN if
    omitted.
    """
    callback_url: str | None = None
    """a URL of a host in KNOUDS_CALLBACK_HOSTS that hears how the job ends;
    KNOUDS_CALLBACK_URL if omitted.
    """
    metadata: dict[str, str | bool | int | float] | None = None
    """a JSON object of at most 16 texts, numbers, true or false under names of 1 to 64
    characters, 1024 bytes of JSON in all; shown wherever the job is shown.
    """
    after: list[str] | None = None
    """ids of at most 50 jobs that have to succeed first; inputs may take from their results:
    {"$result": "id", "pointer": "/images/0"}.
    """
    account: str | None = None
    """an account label: lowercase letters, digits, _ and -, at most 63, starting with a letter
    or digit.
    """


@dataclass(frozen=True, kw_only=True)
class Lane:
    """The jobs of one lane."""

    lane: str
    account: str
    kind: Kind
    target: str
    queued: int
    active: int
    cap: int | None
    key_cap: int | None
    """that of each fair key."""
    fair_keys: FairKeys | None
    """null where no queued job has a fair key."""
    head_since: datetime | None
    drain_s: float | None
    """until its last job can be sent, where the provider limits its route."""


@dataclass(frozen=True, kw_only=True)
class Liveness:
    """The process answers."""

    live: Literal[True]


@dataclass(frozen=True, kw_only=True)
class OrphanExecution:
    """A run that webhooks reported and that belongs to no job."""

    execution_id: str
    event: str
    received_at: datetime
    status: str | None
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """RFC 9457 problem details; `field` names the field, parameter or header at fault.

    `reason`: why Redis refuses, its first word such as `NOREPLICAS`.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    state: State | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """What the provider last reported of a route's limit."""

    route: str
    limit: int | None
    remaining: int | None
    reset_at: datetime | None
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Redis answers. Without workers, jobs are accepted and wait."""

    ready: Literal[True]
    workers: int
    troubles: dict[str, dict[str, str]]
    """worker → background services that are being restarted, with the class of their last
    error; `clock`, `redis_sentinels`, `redis_primary`, `redis_wait`, `redis_replicas` and
    `redis_data`: what is the matter, and what to do.
    """


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a job is parked, dead or retrying, and what to do about it."""

    code: str
    """the provider's own, HTTP_<status>, or uncertain, stuck, manual, budget, expired
    (cancelled, since it was not sent by its start_by).
    """
    http_status: int | None
    message: str
    action: str
    """what an operator must do."""
    action_url: str | None
    hold_id: str | None


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of a webhook; with each of these outcomes it need not be delivered again."""

    outcome: Literal["stored", "known", "test", "ignored"] | str


@dataclass(frozen=True, kw_only=True)
class ReconcileOff:
    """An account for which `reconcile` submits nothing again: a row came after the grace."""

    account: str
    at: datetime
    job_id: str
    row_id: int | None


@dataclass(frozen=True, kw_only=True)
class ReconcileOn:
    """An account for which `reconcile` is on, and whether it was off."""

    account: str
    was_off: bool


@dataclass(frozen=True, kw_only=True)
class RedisRefusal:
    """Something that Redis refuses, which `/readyz` answers with 503."""

    reason: str
    """Redis' first word, as `NOREPLICAS`."""
    text: str
    action: str
    """what ends it."""


@dataclass(frozen=True, kw_only=True)
class ReleaseBody:
    """A parked job to release, with the inputs it has or with others."""

    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    inputs: dict[str, Any] | None = None
    """a JSON object that replaces the inputs; not for a job whose run the provider may have."""


@dataclass(frozen=True, kw_only=True)
class ReleasedHold:
    """A released hold, and how many jobs returned to the queue."""

    hold: Hold
    released: int


@dataclass(frozen=True, kw_only=True)
class RemovedCap:
    """What counts for a scope once its cap is removed."""

    scope: str
    cap: int | None
    """of KNOUDS_LANE_CAPS; null: no cap of its own."""


@dataclass(frozen=True, kw_only=True)
class RequeueBody:
    """A dead letter to requeue, with the inputs it has or with others."""

    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    inputs: dict[str, Any] | None = None
    """a JSON object that replaces the inputs."""


@dataclass(frozen=True, kw_only=True)
class Reset:
    """The data of an event `reset`: transitions are missing before it, read the lists again."""

    why: Literal["missing"] | str


@dataclass(frozen=True, kw_only=True)
class ResolveBody:
    """How to resolve an uncertain job: exactly one of `execution_id` and `outcome`."""

    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    execution_id: str | None = None
    """the id of the execution at the provider."""
    outcome: Literal["resubmit", "discard"] | str | None = None
    """ "resubmit", which may be paid twice, or "discard"."""


@dataclass(frozen=True, kw_only=True)
class RunPreview:
    """What an enqueue would answer; nothing was enqueued."""

    kind: Kind
    target: str
    account: str
    est_cost: float | None
    """the credits that the run is likely to cost; null if unknown."""
    warnings: list[EnqueueWarning]
    """what is not as the provider lists it; empty if nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule. In lists `runs` and `why` are null, and `job` has no inputs."""

    name: str
    """as the tokens of its tenant know it; for a token without a tenant <tenant>~<name>, where
    it has one.
    """
    tenant: str
    cron: str
    time_zone: str
    job: dict[str, Any]
    """the job request; `inputs` are absent where no key reads them."""
    overlap: Overlap
    catch_up: CatchUp
    enabled: bool
    next_ticks: list[datetime]
    """the next five ticks, in lists one; none while disabled."""
    last_run: ScheduledRun | None
    """of those on record."""
    last_skip: SkippedTicks | None
    runs: list[ScheduledRun] | None
    """the last ten on record, newest first."""
    why: list[Blocker] | None
    """what keeps the next tick from making a job, or the job from running; empty where nothing
    does.
    """
    error: str
    """why its record cannot be read; empty where it can be."""
    set_by: str
    set_at: datetime | None
    """null where its record cannot be read."""
    note: str
    warnings: list[EnqueueWarning] | None = None
    """of an enqueue, and of a requeue with inputs: what is not as the provider lists it;
    absent if nothing is known to be wrong (KNOUDS_ENQUEUE_CHECKS).
    """


@dataclass(frozen=True, kw_only=True)
class ScheduleBody:
    """A job that is enqueued at each tick of a cron line."""

    cron: str
    """a cron line of five fields: minute, hour, day of month, month and day of week, as 0 3 *
    * *.
    """
    job: dict[str, Any]
    """a job request, as of POST /v1/jobs, without id, run_at and delay_s."""
    note: str | None = None
    """a string of at most 1000 characters, kept in the audit log."""
    time_zone: str | None = None
    """the name of a time zone, as Europe/Berlin: the line is in its local time."""
    overlap: Overlap | None = None
    """ "skip": a tick makes no job while an earlier one is not finished; parked ones do not
    count; or "enqueue".
    """
    catch_up: CatchUp | None = None
    """ "none", "last" or "all": which ticks make a job that no worker saw within 60 s."""
    enabled: bool | None = None
    """true, or false to enqueue nothing."""


@dataclass(frozen=True, kw_only=True)
class ScheduleEvent:
    """The data of an event `schedule`: it was set, removed, switched, or left ticks out."""

    name: str
    """as GET /v1/schedules shows it to the same token."""
    change: ScheduleChange
    tick: datetime | None
    """the last tick that was left out."""
    count: int
    """how many ticks were left out."""
    at: datetime


@dataclass(frozen=True, kw_only=True)
class SchedulePage:
    """Schedules, by name."""

    items: list[Schedule]
    next_cursor: None


@dataclass(frozen=True, kw_only=True)
class ScheduledRun:
    """A job of a schedule."""

    id: str
    state: State
    code: str | None
    """of its reason, where it has one."""
    tick: datetime | None
    """null for a run that a person started."""
    created_at: datetime
    finished_at: datetime | None
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class Session:
    """A browser that is logged in."""

    id: str
    token: str
    """the name of the token it logged in with."""
    client: str
    """the address it logged in from."""
    opened_at: datetime
    ends_at: datetime
    """if it is not used until then."""


@dataclass(frozen=True, kw_only=True)
class SessionPage:
    """Sessions, the oldest first."""

    items: list[Session]
    next_cursor: None


@dataclass(frozen=True, kw_only=True)
class SkippedTicks:
    """The last ticks that made no job, for one cause."""

    cause: SkipCause
    """overlap: an earlier run was not finished; missed: no worker was there in time, see
    `catch_up`; refused: its job was; id_taken: another job has the tick's id.
    """
    tick: datetime
    """the last of them."""
    count: int
    """how many; at least so many, where it is 1000."""
    at: datetime
    """when that was decided."""
    message: str
    """what was refused, or the id of the job that is in the way."""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Counts of jobs, lanes, rate limits, workers and holds."""

    states: dict[str, int]
    oldest: dict[str, float]
    """seconds, for states that have jobs."""
    lanes: list[Lane]
    """the 200 with the most queued and active jobs."""
    lane_count: int
    """how many lanes there are."""
    quota: list[RateLimit]
    workers: list[Worker]
    redis_refuses: list[RedisRefusal]
    """while it is not empty, workers may live that are not in `workers`."""
    holds: int
    breakers: int
    """breakers that stop submits or slow them down."""
    reconcile_off: list[ReconcileOff]
    rates: dict[str, float]
    credit_warnings: list[CreditWarning]
    """budgets that are used to 80 % or closed, and balances that are likely to be used up
    within the hour; empty below role read.
    """


@dataclass(frozen=True, kw_only=True)
class Transition:
    """The data of an event `job`: a job changed its state."""

    id: str
    """as GET /v1/jobs shows it to the same token."""
    tenant: str
    kind: Kind
    target: str
    account: str
    from_: State | None = field(metadata={"name": "from"})
    """null: the job is new."""
    to: State
    at: datetime
    code: str | None
    """the code of its reason, where it has one."""
    metadata: dict[str, Any] | None
    """of a job that settled or parked: what its app gave it; null for a role that may not see
    payloads.
    """


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """A run in the provider's list of runs."""

    id: int
    status: str
    targets: list[str]
    credits: float | None
    duration_s: float | None
    code: str | None
    request_id: str | None
    created_at: datetime | None
    """by the provider's clock."""
    execution_id: str | None
    """where a webhook reported a run with its request id: attach this one."""


@dataclass(frozen=True, kw_only=True)
class Why:
    """What keeps a job from running, in the order to check; empty when nothing does."""

    id: str
    state: State
    blockers: list[Blocker]
    breaker: Breaker | None
    """the first breaker among them, else null."""
    evidence: Evidence | None
    """for an uncertain job, else null."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker whose heartbeat is fresh."""

    id: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    submitting: int
    sync_runs: int
    polling: int
    stopping: bool
    drained: bool
    """an operator took it out of service: it takes no new jobs."""
    polls_failing_since: datetime | None
    """since when none of its polls got an answer, else null."""
    poll_failure: str
    """why the last of them got none."""
    unproved_accounts: list[str]
    """accounts whose submits wait until a poll of their last runs is answered."""
    failures: dict[str, str]
    """services that are being restarted, with the class of their last error; `clock`,
    `redis_sentinels`, `redis_primary`, `redis_wait`, `redis_replicas` and `redis_data`:
    what is the matter, and what to do.
    """
    clock_ahead_s: float
    """how far the clock of its machine is ahead of that of Redis."""


class JobOptions(TypedDict, total=False):
    """Options of a job; `enqueue_job` describes them."""

    id: str | None
    priority: int
    tags: list[str]
    batch: str | None
    fair_key: str | None
    run_at: datetime | None
    delay_s: float | None
    start_by: datetime | None
    max_attempts: int | None
    deadline_s: float | None
    on_uncertain: OnUncertain | None
    callback_url: str | None
    metadata: dict[str, str | bool | int | float] | None
    after: list[str]
    account: str
