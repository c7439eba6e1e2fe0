"""Responses that show jobs: one, a page of them, and why one does not run."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from jobs.credits.sources import CostSource
from jobs.evidence.records import EvidenceFinding
from jobs.holds import Gates
from jobs.job import Attempt, Job, JobEvent, Reason
from jobs.payloads import MissingPayload
from jobs.states import Kind, Mode, State
from jobs.tenants import tenant_of
from jobs.why import Blocker
from jobs.workflows import EnqueueWarning
from worker.api.models.breakers import BreakerResponse
from worker.api.models.enqueue import (
    DurabilityField,
    EstCostField,
    WarningsField,
    est_cost_of,
    warning_responses,
    warnings_of,
)
from worker.api.models.evidence import EvidenceResponse, evidence_response
from worker.api.models.response import RawJson, ResponseModel, Time, optional_rfc3339, rfc3339
from worker.app.enqueue import EnqueueResult
from worker.app.eta import Eta
from worker.app.queries import UncertainEvidence
from worker.app.shown_ids import is_of_tenant, shown_job_id
from worker.store.payloads import StoredPayloads

NO_GATES: Final = Gates()
NO_PAYLOADS: Final = StoredPayloads(None, None)
WAITING_STATES: Final = frozenset({State.SCHEDULED, State.QUEUED, State.RETRYING})


class ReasonResponse(ResponseModel):
    """Why a job is parked, dead or retrying, and what to do about it."""

    code: Annotated[
        str,
        Meta(
            description="the provider's own, HTTP_<status>, or uncertain, stuck, manual, budget,"
            " expired (cancelled, since it was not sent by its start_by)"
        ),
    ]
    http_status: int | None
    message: str
    action: Annotated[str, Meta(description="what an operator must do")]
    action_url: str | None
    hold_id: str | None


class AttemptResponse(ResponseModel):
    """One submit that reached the provider, or may have reached it."""

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
    cost: Annotated[float | None, Meta(description="credits")]
    cost_source: Annotated[
        CostSource | None,
        Meta(
            description="who says what it cost: usage (the provider's list of runs), estimate"
            " (nobody yet; unknown without a cost), or null for the answer to a poll or a sync run"
        ),
    ]


class JobEventResponse(ResponseModel):
    """One line of a job's history."""

    at: Time
    event: str
    by: str
    note: str


class HeldByResponse(ResponseModel):
    """The hold that a waiting job is behind, and what an operator can do about it."""

    hold_id: str
    scope: str
    code: str
    action: str
    action_url: str | None


class JobResponse(ResponseModel):
    """A job. In lists `inputs` and `result` are null."""

    id: Annotated[
        str,
        Meta(
            description="as the app of its tenant knows it; for a token without a tenant"
            " <tenant>~<id>, where it has one"
        ),
    ]
    tenant: Annotated[str, Meta(description="the tenant of the token that made it, else empty")]
    kind: Kind
    target: str
    account: str
    state: State
    reason: ReasonResponse | None
    held_by: Annotated[
        HeldByResponse | None, Meta(description="while it waits: the hold that closes its lane")
    ]
    waits_for_budget: Annotated[
        str | None,
        Meta(
            description="while it is queued: the budget of a tag or batch that keeps it out of its"
            " lane; null for a token of a tenant. Budgets of its lane: see `why`"
        ),
    ]
    priority: int
    tags: tuple[str, ...]
    batch: str | None
    fair_key: Annotated[
        str | None,
        Meta(description="whose turns it takes in its lane, see docs/fairness.md; null for none"),
    ]
    schedule: Annotated[
        str | None, Meta(description="the schedule that it is a run of; null for none")
    ]
    callback_url: Annotated[
        str | None, Meta(description="who hears of it, see docs/callbacks.md; null for nobody")
    ]
    metadata: Annotated[
        RawJson | None,
        Meta(
            description="what its app gave it, also in lists; null for a role that may not see"
            " payloads, and once they were erased",
            extra_json_schema={"type": ["object", "null"]},
        ),
    ]
    after: Annotated[
        tuple[str, ...], Meta(description="the jobs that have to succeed before it is queued")
    ]
    inputs: Annotated[RawJson | None, Meta(extra_json_schema={"type": ["object", "null"]})]
    result: Annotated[
        RawJson | None,
        Meta(description="the provider's result, unchanged; null before it is there"),
    ]
    cost: Annotated[
        float | None,
        Meta(description="credits of all its attempts, as far as known; without estimates"),
    ]
    estimate: Annotated[
        float | None,
        Meta(
            description="credits that its present or next attempt is expected to cost; set when a"
            " worker admits it, null before and where nothing is known"
        ),
    ]
    mode: Mode | None
    attempt: int
    max_attempts: int
    execution_id: str | None
    request_id: str | None
    created_at: Time
    scheduled_for: Time | None
    start_by: Annotated[
        Time | None, Meta(description="it is cancelled unless it is sent by then; null for never")
    ]
    submitted_at: Time | None
    eta: Annotated[
        Time | None,
        Meta(description="while running: half of similar runs end by then; null where unknown"),
    ]
    eta_late: Annotated[
        Time | None, Meta(description="while running: 90 % of similar runs end by then")
    ]
    finished_at: Time | None
    updated_at: Time
    attempts: list[AttemptResponse]
    events: list[JobEventResponse]
    finding: Annotated[
        EvidenceFinding | None,
        Meta(description="of an uncertain submit: what the provider's list of runs says about it"),
    ]
    payloads_hidden: Annotated[
        bool,
        Meta(
            description="true where inputs and result are null because the token's role may not"
            " see them, or because Redis did not answer after an action"
        ),
    ]
    payload_problem: Annotated[
        Literal["payloads_erased", "payload_unreadable"] | None,
        Meta(
            description="why inputs or result are null though they were stored: they were erased,"
            " or no key of KNOUDS_PAYLOAD_KEYS reads them; null in lists"
        ),
    ]
    durability: DurabilityField = UNSET
    est_cost: EstCostField = UNSET
    warnings: WarningsField = UNSET


class JobPageResponse(ResponseModel):
    """Jobs, newest first. A page can be short and still have a next one."""

    items: list[JobResponse]
    next_cursor: str | None


class BlockerResponse(ResponseModel):
    """One thing a job waits for."""

    kind: str
    text: str
    action: str
    hold_id: str | None
    breaker_id: str | None
    until: Time | None


class WhyResponse(ResponseModel):
    """What keeps a job from running, in the order to check; empty when nothing does."""

    id: str
    state: State
    blockers: list[BlockerResponse]
    breaker: Annotated[
        BreakerResponse | None, Meta(description="the first breaker among them, else null")
    ]
    evidence: Annotated[
        EvidenceResponse | None, Meta(description="for an uncertain job, else null")
    ]


def job_response(
    job: Job,
    payloads: StoredPayloads = NO_PAYLOADS,
    *,
    eta: Eta | None = None,
    gates: Gates = NO_GATES,
    payloads_hidden: bool = False,
    enqueued: EnqueueResult | None = None,
    warnings: Sequence[EnqueueWarning] = (),
) -> JobResponse:
    """A job; inputs and result are null for roles that may not see them.

    `enqueued`: what it is the answer to. `warnings`: about inputs it was requeued with.
    """
    shown = NO_PAYLOADS if payloads_hidden else payloads
    return JobResponse(
        id=shown_job_id(job.id),
        tenant=tenant_of(job.id),
        kind=job.kind,
        target=job.target,
        account=job.account,
        state=job.state,
        reason=None if job.reason is None else reason_response(job.reason),
        held_by=_held_by(job, gates),
        waits_for_budget=None if is_of_tenant() else job.waits_for_budget,
        priority=job.priority,
        tags=job.tags,
        batch=job.batch,
        fair_key=job.fair_key,
        schedule=shown_job_id(job.schedule) or None,
        callback_url=job.callback_url,
        metadata=None if shown.metadata is None else msgspec.Raw(shown.metadata),
        after=tuple(map(shown_job_id, job.after)),
        inputs=None if shown.inputs is None else msgspec.Raw(shown.inputs),
        result=None if shown.result is None else msgspec.Raw(shown.result),
        cost=job.cost,
        estimate=job.estimate,
        mode=job.mode,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        execution_id=job.execution_id,
        request_id=job.request_id,
        created_at=rfc3339(job.created_at),
        scheduled_for=optional_rfc3339(job.scheduled_for),
        start_by=optional_rfc3339(job.start_by),
        submitted_at=optional_rfc3339(job.submitted_at),
        eta=rfc3339(eta.likely_at) if eta else None,
        eta_late=optional_rfc3339(eta.late_at) if eta else None,
        finished_at=optional_rfc3339(job.finished_at),
        updated_at=rfc3339(job.updated_at),
        attempts=[_attempt(attempt) for attempt in job.attempts],
        events=[_event(event) for event in job.events],
        finding=job.finding,
        payloads_hidden=payloads_hidden,
        payload_problem=_payload_problem(payloads),
        durability=(enqueued and enqueued.durability) or UNSET,
        est_cost=est_cost_of(enqueued),
        warnings=warning_responses(warnings) or warnings_of(enqueued),
    )


def _payload_problem(
    payloads: StoredPayloads,
) -> Literal["payloads_erased", "payload_unreadable"] | None:
    problems = (payloads.inputs_problem, payloads.result_problem)
    if MissingPayload.KEY_LOST in problems:
        return "payload_unreadable"
    return "payloads_erased" if MissingPayload.ERASED in problems else None


def _held_by(job: Job, gates: Gates) -> HeldByResponse | None:
    """The hold that closes the lane of a waiting job."""
    if job.state not in WAITING_STATES or job.bypass_hold:
        return None
    hold = gates.closing_hold(job.lane)
    if hold is None:
        return None
    return HeldByResponse(
        hold_id=hold.id,
        scope=hold.scope,
        code=hold.code,
        action=hold.action,
        action_url=hold.action_url,
    )


def reason_response(reason: Reason) -> ReasonResponse:
    """Why a job is parked, dead or retrying."""
    return ReasonResponse(
        code=reason.code,
        http_status=reason.http_status,
        message=reason.message,
        action=reason.action,
        action_url=reason.action_url,
        hold_id=reason.hold_id,
    )


def _attempt(attempt: Attempt) -> AttemptResponse:
    return AttemptResponse(
        number=attempt.number,
        mode=attempt.mode,
        started_at=rfc3339(attempt.started_at),
        ended_at=optional_rfc3339(attempt.ended_at),
        outcome=attempt.outcome,
        http_status=attempt.http_status,
        code=attempt.code,
        message=attempt.message,
        provider_status=attempt.provider_status,
        execution_id=attempt.execution_id,
        request_id=attempt.request_id,
        polls=attempt.polls,
        cost=attempt.cost,
        cost_source=attempt.cost_source,
    )


def _event(event: JobEvent) -> JobEventResponse:
    return JobEventResponse(at=rfc3339(event.at), event=event.name, by=event.by, note=event.note)


def blocker_response(blocker: Blocker) -> BlockerResponse:
    """One thing a job waits for."""
    return BlockerResponse(
        kind=blocker.kind,
        text=blocker.text,
        action=blocker.action,
        hold_id=blocker.hold_id,
        breaker_id=blocker.breaker.id if blocker.breaker else None,
        until=optional_rfc3339(blocker.until),
    )


def why_response(
    job: Job,
    blockers: Sequence[Blocker],
    evidence: UncertainEvidence | None,
    breaker: BreakerResponse | None,
) -> WhyResponse:
    """What keeps a job from running."""
    return WhyResponse(
        id=shown_job_id(job.id),
        state=job.state,
        blockers=[blocker_response(blocker) for blocker in blockers],
        breaker=breaker,
        evidence=None if evidence is None else evidence_response(evidence),
    )
