"""What the event stream sends, encoded once for all listeners, and which of it a listener wants."""

from dataclasses import dataclass
from typing import assert_never

from jobs.budgets.record import is_lane_scope
from jobs.lanes import Lane, Scope
from jobs.states import Kind, State
from jobs.tenants import tenant_of
from worker.api.models.events import (
    balance_event_response,
    batch_event_response,
    breaker_event_response,
    budget_event_response,
    schedule_event_response,
    transition_response,
)
from worker.api.models.response import encode_response
from worker.store.commit import TransitionEvent
from worker.store.events import (
    BalanceNotice,
    BatchNotice,
    BreakerNotice,
    BudgetNotice,
    Notice,
    ScheduleNotice,
)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which transitions a listener wants; `state` matches the state before or after."""

    state: State | None = None
    kind: Kind | None = None
    target: str | None = None
    account: str | None = None
    tenant: str = ""
    """Whose jobs alone a listener may see; empty for all."""
    sees_credits: bool = False
    """Whether a listener may read budgets and balances."""
    sees_payloads: bool = False
    """Whether a listener may see the metadata of jobs."""

    def matches(self, event: "BroadcastItem") -> bool:
        """Whether an event passes the filter: of gates, those that jobs of the filter may meet."""
        match event:
            case BroadcastEvent(lane=lane):
                if self.tenant not in ("", event.tenant):
                    return False
                is_state_wanted = self.state is None or self.state in (event.before, event.after)
                return is_state_wanted and self._wants(lane.account, lane.kind, lane.target)
            case BroadcastBreaker(scope=scope):
                is_wanted = self.state is None and not self.tenant
                return is_wanted and self._wants(*scope.split("/", 2))
            case BroadcastSchedule(lane=lane):
                is_wanted = self.state is None and self.tenant in ("", event.tenant)
                return is_wanted and (
                    lane is None or self._wants(lane.account, lane.kind, lane.target)
                )
            case BroadcastBatch(tenant=tenant):
                return self.state is None and self.tenant in ("", tenant)
            case BroadcastCredits(scope=scope):
                is_wanted = self.state is None and self.sees_credits and not self.tenant
                return is_wanted and (not is_lane_scope(scope) or self._wants(*scope.split("/", 2)))
            case _:
                assert_never(event)

    def data_of(self, event: "BroadcastItem") -> bytes:
        """An event as this listener gets it: with the job's id as its tenant knows it, or whole."""
        if isinstance(event, BroadcastEvent) and event.with_metadata and self.sees_payloads:
            return event.tenant_with_metadata if self.tenant else event.with_metadata
        if self.tenant and isinstance(event, BroadcastEvent | BroadcastSchedule | BroadcastBatch):
            return event.tenant_data
        return event.data

    def _wants(self, account: str, kind: str | None = None, target: str | None = None) -> bool:
        return (
            self.account in (None, account)
            and (kind is None or self.kind in (None, kind))
            and (target is None or self.target in (None, target))
        )


@dataclass(frozen=True, slots=True)
class BroadcastEvent:
    """A transition, encoded once for all listeners."""

    lane: Lane
    before: State | None
    after: State
    data: bytes
    tenant: str = ""
    tenant_data: bytes = b""
    """For listeners of the tenant."""
    with_metadata: bytes = b""
    """For listeners that see payloads, where the job has metadata; else empty."""
    tenant_with_metadata: bytes = b""
    """For those of its tenant."""


@dataclass(frozen=True, slots=True)
class BroadcastBreaker:
    """A change of a breaker, encoded once for all listeners."""

    scope: Scope
    data: bytes


@dataclass(frozen=True, slots=True)
class BroadcastCredits:
    """A change of a budget or of a balance, encoded once for all listeners."""

    scope: str
    """Of a budget; the account of a balance."""
    data: bytes
    is_balance: bool = False


@dataclass(frozen=True, slots=True)
class BroadcastSchedule:
    """A change of a schedule, encoded once for all listeners."""

    lane: Lane | None
    """Of its jobs; None where that is unknown."""
    data: bytes
    tenant: str
    tenant_data: bytes
    """For listeners of the tenant."""


@dataclass(frozen=True, slots=True)
class BroadcastBatch:
    """A change of a batch, encoded once for all listeners."""

    tenant: str
    data: bytes
    tenant_data: bytes
    """For listeners of the tenant."""


BroadcastItem = (
    BroadcastEvent | BroadcastBreaker | BroadcastCredits | BroadcastSchedule | BroadcastBatch
)


def transition_item(
    transition: TransitionEvent, metadata: bytes | None = None
) -> BroadcastEvent | None:
    """What listeners get for a transition; None where its lane cannot be read.

    `metadata`: of its job (JSON text).
    """
    try:
        lane = Lane.parse(transition.lane)
    except ValueError:
        return None
    tenant = tenant_of(transition.id)

    def encoded(metadata: bytes | None, *, for_tenant: bool) -> bytes:
        return encode_response(
            transition_response(transition, lane, metadata, for_tenant=for_tenant)
        )

    data = encoded(None, for_tenant=False)
    whole = b"" if metadata is None else encoded(metadata, for_tenant=False)
    return BroadcastEvent(
        lane,
        transition.before,
        transition.after,
        data,
        tenant,
        encoded(None, for_tenant=True) if tenant else data,
        whole,
        encoded(metadata, for_tenant=True) if tenant and whole else whole,
    )


def notice_item(notice: Notice) -> BroadcastItem:
    """What listeners get for a notice of the stream."""
    match notice:
        case BreakerNotice():
            return BroadcastBreaker(notice.scope, encode_response(breaker_event_response(notice)))
        case BudgetNotice():
            return BroadcastCredits(notice.scope, encode_response(budget_event_response(notice)))
        case BalanceNotice():
            data = encode_response(balance_event_response(notice))
            return BroadcastCredits(notice.account, data, is_balance=True)
        case ScheduleNotice():
            return _schedule_notice(notice)
        case BatchNotice():
            return BroadcastBatch(
                tenant_of(notice.name),
                encode_response(batch_event_response(notice)),
                encode_response(batch_event_response(notice, for_tenant=True)),
            )
        case _:
            assert_never(notice)


def _schedule_notice(notice: ScheduleNotice) -> BroadcastSchedule:
    try:
        lane = Lane.parse(notice.lane)
    except ValueError:
        lane = None
    return BroadcastSchedule(
        lane,
        encode_response(schedule_event_response(notice)),
        tenant_of(notice.name),
        encode_response(schedule_event_response(notice, for_tenant=True)),
    )
