"""What answers look like, for the schema. Tests hold real answers against it; nothing runs it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.holds import HoldPhase
from jobs.states import Kind, Mode, State
from worker.store.metrics.series import SeriesWindow

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC, milliseconds and Z."""


class ResponseModel(BaseModel):
    """Part of an answer: every member is always there."""

    model_config = ConfigDict(extra="forbid")


class Reason(ResponseModel):
    """Why a job is parked, dead or retrying, and what to do about it."""

    code: Annotated[
        str,
        Field(description="the provider's own, HTTP_<status>, or uncertain, stuck, manual, budget"),
    ]
    http_status: int | None
    message: str
    action: Annotated[str, Field(description="what a person must do")]
    action_url: str | None
    hold_id: str | None


class Attempt(ResponseModel):
    """One submit that reached the provider, or may have."""

    number: int
    mode: Mode
    started_at: Time
    ended_at: Time | None
    outcome: str | None
    http_status: int | None
    code: str | None
    message: str | None
    provider_status: str | None
    execution_id: str | None
    request_id: str | None
    polls: int
    cost: float | None


class Event(ResponseModel):
    """One line of a job's history."""

    at: Time
    event: str
    by: str
    note: str


class HeldBy(ResponseModel):
    """The hold that a waiting job stands behind, and what a person can do about it."""

    hold_id: str
    scope: str
    code: str
    action: str
    action_url: str | None


class Job(ResponseModel):
    """A job. In lists `inputs` and `result` are null."""

    id: str
    kind: Kind
    target: str
    account: str
    state: State
    reason: Reason | None
    held_by: Annotated[
        HeldBy | None, Field(description="while it waits: the hold that closes its lane")
    ]
    priority: int
    tags: list[str]
    batch: str | None
    inputs: dict[str, Any] | None
    result: Annotated[Any, Field(description="the provider's result, untouched; null before")]
    cost: float | None
    mode: Mode | None
    attempt: int
    max_attempts: int
    execution_id: str | None
    request_id: str | None
    created_at: Time
    scheduled_for: Time | None
    submitted_at: Time | None
    eta: Annotated[
        Time | None,
        Field(description="while running: half of its like end by then; null where nobody knows"),
    ]
    eta_late: Annotated[Time | None, Field(description="while running: nine of ten end by then")]
    finished_at: Time | None
    updated_at: Time
    attempts: list[Attempt]
    events: list[Event]
    payloads_hidden: Annotated[
        bool,
        Field(description="true where the token's role may not see inputs and result: both null"),
    ]


class JobPage(ResponseModel):
    """Some jobs, newest first. A page may be short and still have a next one."""

    items: list[Job]
    next_cursor: str | None


class Problem(BaseModel):
    """RFC 9457 problem details; `field` names the field, parameter or header at fault."""

    type: str
    title: str
    status: int
    detail: str
    field: str = ""
    state: State | None = None


class BulkResult(ResponseModel):
    """What became of one order: `status` is what a call of its own would have had."""

    id: str | None
    status: int
    error: Annotated[Problem | None, Field(description="there for refused orders only")] = None


class BulkAnswer(ResponseModel):
    """One result for each order, in their order."""

    results: list[BulkResult]


class BulkActError(ResponseModel):
    """A job that could not be acted on."""

    id: str
    detail: str


class BulkActAnswer(ResponseModel):
    """What became of the jobs. `matched` = `done` + `skipped` + `failed`."""

    matched: Annotated[int, Field(description="jobs found; with a limit, until it was reached")]
    done: Annotated[int, Field(description="in a dry run: would have been done")]
    skipped: Annotated[int, Field(description="left as they are, see skipped_why")]
    skipped_why: Annotated[dict[str, int], Field(description="reason and number of jobs")]
    failed: int
    errors: Annotated[list[BulkActError], Field(description="the first 20 that failed")]
    est_cost: Annotated[
        float | None,
        Field(
            description="credits that runs of the jobs done cost, without those the provider has"
            " already; null where a target has not run"
        ),
    ]
    dry_run: bool
    holds_released: Annotated[
        int | None, Field(description="there for a release only; each lets one canary through")
    ] = None


class Blocker(ResponseModel):
    """One thing a job waits for."""

    kind: str
    text: str
    action: str
    hold_id: str | None
    until: Time | None


class StrayExecution(ResponseModel):
    """A run that webhooks told of and that belongs to no job."""

    execution_id: str
    event: str
    received_at: Time
    status: str | None
    cost: float | None


class Evidence(ResponseModel):
    """What is known of an uncertain submit."""

    sent_at: Time | None
    ended_at: Time | None
    http_status: int | None
    message: str
    executions: Annotated[
        list[StrayExecution],
        Field(
            description="runs of the same target that webhooks told of after it was sent and that"
            " belong to no job: to be resolved with `execution_id`, once looked at"
        ),
    ]


class Why(ResponseModel):
    """What keeps a job from running, in the order a person should look; empty when nothing does."""

    id: str
    state: State
    blockers: list[Blocker]
    evidence: Annotated[Evidence | None, Field(description="for an uncertain job, else null")]


class Group(ResponseModel):
    """Parked jobs or dead letters of one code and lane."""

    state: State
    code: str
    kind: Kind
    target: str
    account: str
    count: int
    oldest: Time
    message: str
    action: str
    action_url: str | None
    est_cost: Annotated[float | None, Field(description="credits; null where no run has ended")]


class GroupPage(ResponseModel):
    """Groups, the largest first."""

    items: list[Group]
    next_cursor: None


class Hold(ResponseModel):
    """A gate over a scope."""

    id: str
    scope: str
    code: str
    phase: HoldPhase
    http_status: int | None
    message: str
    action: str
    action_url: str | None
    created_at: Time
    created_by: str
    note: str
    hits: int
    relapses: int
    step: Annotated[int, Field(description="while opening: submits at once, 1, 2, 4, 8 …")]
    accepted: int
    released_at: Time | None
    released_by: str
    jobs: Annotated[int, Field(description="jobs it parked")]


class HoldPage(ResponseModel):
    """Holds, oldest first."""

    items: list[Hold]
    next_cursor: None


class Released(ResponseModel):
    """A released hold, and how many jobs went back in line."""

    hold: Hold
    released: int


class Lane(ResponseModel):
    """How a lane stands."""

    lane: str
    account: str
    kind: Kind
    target: str
    queued: int
    active: int
    cap: int | None
    head_since: Time | None
    drain_s: float | None
    """Until its last job can be sent, where the provider limits its route."""


class Quota(ResponseModel):
    """What the provider last said of a route's limit."""

    route: str
    limit: int | None
    remaining: int | None
    reset_at: Time | None
    seen_at: Time


class Worker(ResponseModel):
    """A worker that lives."""

    id: str
    host: str
    pid: int
    started_at: Time
    seen_at: Time
    submitting: int
    sync_runs: int
    polling: int
    stopping: bool
    failures: dict[str, str]


class Stats(ResponseModel):
    """How everything stands."""

    states: dict[State, int]
    oldest: Annotated[dict[State, float], Field(description="seconds, for states that have jobs")]
    lanes: list[Lane]
    quota: list[Quota]
    workers: list[Worker]
    holds: int
    rates: dict[str, float]


class AuditLine(ResponseModel):
    """An act of a person."""

    id: str
    at: Time
    by: str
    act: Annotated[str, Field(description="as release, bulk_requeue, hold, login, login_failed")]
    on: Annotated[str, Field(description="a job, a scope, a filter as JSON, or an address")]
    note: str
    jobs: Annotated[int, Field(description="how many jobs it touched")]


class AuditPage(ResponseModel):
    """Acts of people, newest first. A page may be short and still have a next one."""

    items: list[AuditLine]
    next_cursor: str | None


class Moved(ResponseModel):
    """The data of an event `job`: a job came from one state into another."""

    id: str
    kind: Kind
    target: str
    account: str
    from_: Annotated[State | None, Field(alias="from", description="null: it is new")]
    to: State
    at: Time
    code: Annotated[str | None, Field(description="the code of its reason, where it has one")]


class Text(BaseModel):
    """Plain text."""


class Point(ResponseModel):
    """What happened in one stretch of time."""

    at: Annotated[Time, Field(description="when it began")]
    step_s: int
    enqueued: float
    succeeded: float
    dead: float
    cancelled: float
    parked: float
    submits: float
    polls: float
    rate_limited: Annotated[float, Field(description="answers 429")]
    credits: Annotated[float, Field(description="that runs cost, as far as the provider told")]
    delay_p50_s: Annotated[
        float | None,
        Field(description="from the end of a run to its record, at most; null where none ended"),
    ]
    delay_p95_s: float | None


class History(ResponseModel):
    """What happened over time, oldest first; the last point is not over yet."""

    window: SeriesWindow
    points: list[Point]


class Delivered(ResponseModel):
    """What became of a delivery; all of them are right answers to it."""

    outcome: Literal["stored", "known", "test", "ignored"]


class Live(ResponseModel):
    """The process answers."""

    live: Literal[True]


class Ready(ResponseModel):
    """Redis answers; without workers jobs are taken and wait."""

    ready: Literal[True]
    workers: int
    troubles: dict[str, dict[str, str]]
    """Worker → background services being restarted, with the class of their last error."""


class Index(ResponseModel):
    """What is here."""

    service: str
    version: str
    openapi: str


class Document(BaseModel):
    """An OpenAPI document."""

    model_config = ConfigDict(extra="allow")

    openapi: str
