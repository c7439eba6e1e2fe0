"""The data of server-sent events."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from jobs.batches import BatchEvent
from jobs.breakers import BreakerCause, BreakerState
from jobs.budgets.warnings import BudgetChange
from jobs.credits.low_balance import BalanceChange
from jobs.lanes import Lane
from jobs.schedules.record import ScheduleChange
from jobs.states import Kind, State
from jobs.tenants import app_job_id, tenant_of
from worker.api.models.response import RawJson, ResponseModel, Time, optional_rfc3339, rfc3339
from worker.store.commit import TransitionEvent
from worker.store.events import (
    BalanceNotice,
    BatchNotice,
    BreakerNotice,
    BudgetNotice,
    ScheduleNotice,
)


class TransitionResponse(ResponseModel, rename={"before": "from", "after": "to"}):
    """The data of an event `job`: a job changed its state."""

    id: Annotated[str, Meta(description="as GET /v1/jobs shows it to the same token")]
    tenant: str
    kind: Kind
    target: str
    account: str
    before: Annotated[State | None, Meta(description="null: the job is new")]
    after: State
    at: Time
    code: Annotated[str | None, Meta(description="the code of its reason, where it has one")]
    metadata: Annotated[
        RawJson | None,
        Meta(
            description="of a job that settled or parked: what its app gave it; null for a role"
            " that may not see payloads",
            extra_json_schema={"type": ["object", "null"]},
        ),
    ]


class BreakerEventResponse(ResponseModel):
    """The data of an event `breaker`: it changed its state, its step or its next probe."""

    id: Annotated[str, Meta(description="GET /v1/breakers has the rest")]
    scope: str
    cause: BreakerCause
    state: BreakerState
    at: Annotated[Time, Meta(description="when it came to its state")]


class BudgetEventResponse(ResponseModel):
    """The data of an event `budget`: it was set or removed, is nearly used up, closed, reopened."""

    name: str
    scope: str
    change: BudgetChange
    percent: Annotated[
        int, Meta(description="what is spent and reserved of the limit, in percent, rounded down")
    ]
    at: Time
    resets_at: Annotated[
        Time | None, Meta(description="when its next period begins; null for a total")
    ]


class BalanceEventResponse(ResponseModel):
    """The data of an event `balance`: whether an account may run out of credits within the hour."""

    account: str
    change: BalanceChange
    left: Annotated[float | None, Meta(description="credits that are left of the entered balance")]
    ahead: Annotated[
        float,
        Meta(description="what runs and what may start within the hour is likely to cost"),
    ]
    dry_at: Annotated[
        Time | None, Meta(description="when nothing is left at this pace; null where unknown")
    ]
    at: Time


class ScheduleEventResponse(ResponseModel):
    """The data of an event `schedule`: it was set, removed, switched, or left ticks out."""

    name: Annotated[str, Meta(description="as GET /v1/schedules shows it to the same token")]
    change: ScheduleChange
    tick: Annotated[Time | None, Meta(description="the last tick that was left out")]
    count: Annotated[int, Meta(description="how many ticks were left out")]
    at: Time


class BatchEventResponse(ResponseModel):
    """The data of an event `batch`: it was created, sealed or cancelled, is stalled or complete."""

    name: Annotated[str, Meta(description="as GET /v1/batches shows it to the same token")]
    tenant: str
    event: BatchEvent
    total: Annotated[int, Meta(description="jobs that joined it")]
    open: Annotated[int, Meta(description="those that have not settled")]
    completion: Annotated[int, Meta(description="how often it has completed")]
    at: Time


class ResetResponse(ResponseModel):
    """The data of an event `reset`: transitions are missing before it, read the lists again."""

    why: Literal["missing"]


class EndResponse(ResponseModel):
    """The data of an event `end`, the last one: the token or login has ended, or was changed."""

    why: Literal["access"]


EVENT_MODELS: Final[dict[str, type[ResponseModel]]] = {
    "job": TransitionResponse,
    "breaker": BreakerEventResponse,
    "budget": BudgetEventResponse,
    "balance": BalanceEventResponse,
    "schedule": ScheduleEventResponse,
    "reset": ResetResponse,
    "end": EndResponse,
}
"""The model of the data of each kind of event."""


def breaker_event_response(notice: BreakerNotice) -> BreakerEventResponse:
    """A change of a breaker."""
    return BreakerEventResponse(
        id=notice.breaker,
        scope=notice.scope,
        cause=notice.cause,
        state=notice.state,
        at=rfc3339(notice.at),
    )


def budget_event_response(notice: BudgetNotice) -> BudgetEventResponse:
    """A change of a budget."""
    return BudgetEventResponse(
        name=notice.name,
        scope=notice.scope,
        change=notice.change,
        percent=notice.percent,
        at=rfc3339(notice.at),
        resets_at=optional_rfc3339(notice.resets_at),
    )


def balance_event_response(notice: BalanceNotice) -> BalanceEventResponse:
    """A balance that is low, or not any more."""
    return BalanceEventResponse(
        account=notice.account,
        change=notice.change,
        left=notice.left,
        ahead=notice.ahead,
        dry_at=optional_rfc3339(notice.dry_at),
        at=rfc3339(notice.at),
    )


def schedule_event_response(
    notice: ScheduleNotice, *, for_tenant: bool = False
) -> ScheduleEventResponse:
    """A change of a schedule; `for_tenant`: as tokens of its tenant name it."""
    return ScheduleEventResponse(
        name=app_job_id(notice.name) if for_tenant else notice.name,
        change=notice.change,
        tick=optional_rfc3339(notice.tick),
        count=notice.count,
        at=rfc3339(notice.at),
    )


def batch_event_response(notice: BatchNotice, *, for_tenant: bool = False) -> BatchEventResponse:
    """A change of a batch; `for_tenant`: as tokens of its tenant name it."""
    return BatchEventResponse(
        name=app_job_id(notice.name) if for_tenant else notice.name,
        tenant=tenant_of(notice.name),
        event=notice.event,
        total=notice.total,
        open=notice.open,
        completion=notice.completion,
        at=rfc3339(notice.at),
    )


def transition_response(
    transition: TransitionEvent,
    lane: Lane,
    metadata: bytes | None = None,
    *,
    for_tenant: bool = False,
) -> TransitionResponse:
    """A transition of a job in `lane`; `for_tenant`: as tokens of its tenant name the job."""
    return TransitionResponse(
        id=app_job_id(transition.id) if for_tenant else transition.id,
        tenant=tenant_of(transition.id),
        kind=lane.kind,
        target=lane.target,
        account=lane.account,
        before=transition.before,
        after=transition.after,
        at=rfc3339(transition.at),
        code=transition.code,
        metadata=None if metadata is None else msgspec.Raw(metadata),
    )
