"""Budgets for people: set, remove and list them, each change with its audit entry."""

import math
import re
from typing import Final, NamedTuple

import msgspec

from jobs.budgets.record import (
    BATCH,
    MIN_LIMIT,
    TAG,
    Budget,
    BudgetPeriod,
    parse_budget_scope,
)
from jobs.budgets.room import BudgetStatus
from jobs.budgets.state import BudgetState, state_of
from jobs.budgets.waiting import LaneQueues
from jobs.budgets.warnings import BudgetChange
from jobs.credits.charges import MAX_CREDITS
from jobs.newer import NEWER_SCHEMA
from jobs.tenants import TENANT, TENANT_MARK
from worker.app.action_table import BudgetAction
from worker.app.actions import Actor
from worker.app.checks import require_name, require_time_zone
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import MAX_BATCH_CHARS, MAX_TAG_CHARS, TAG_CHAR
from worker.clock import Clock
from worker.engine.budget_warnings import budget_notice
from worker.engine.cost_estimator import CostEstimator
from worker.store import Store
from worker.store.budgets import MAX_BUDGETS
from worker.store.schema import NewerRecordError
from worker.store.side_writes import NewAuditEntry

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")

_LONGEST: Final = {TAG: MAX_TAG_CHARS, BATCH: MAX_BATCH_CHARS}


class NoSuchBudget(LookupError):
    """There is no budget of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no budget {name!r}")


class BudgetRequest(NamedTuple):
    """A budget as a person asks for it."""

    scope: str
    period: str
    limit: float
    time_zone: str = "UTC"


class ShownBudget(NamedTuple):
    """A budget with what is used of it, and what waits for it."""

    status: BudgetStatus
    waiting: int
    """Queued jobs that it keeps from running."""
    state: BudgetState


class Budgets:
    """The budgets of one namespace."""

    def __init__(self, store: Store, clock: Clock, estimator: CostEstimator) -> None:
        self._store = store
        self._clock = clock
        self._estimator = estimator

    async def list_all(self) -> list[ShownBudget]:
        """Every budget, by name."""
        return await self._shown(await self._store.budgets.statuses(self._clock.now()))

    async def find(self, name: str) -> ShownBudget:
        """One budget; raises `NoSuchBudget`."""
        found = await self._store.budgets.find(name)
        if found is None:
            raise NoSuchBudget(name)
        statuses = await self._store.budgets.with_use([found], self._clock.now())
        return (await self._shown(statuses))[0]

    async def set(self, name: str, wanted: BudgetRequest, actor: Actor) -> ShownBudget:
        """Set a budget; what is spent of it counts on unless scope, period or zone are others.

        Raises `InvalidRequest` with the field that is wrong, and `NewerRecordError`.
        """
        new = self._checked(name, wanted, actor)
        await self._require_known_account(new)
        before = await self._store.budgets.find(name)
        if before is None and len(await self._store.budgets.list_all()) >= MAX_BUDGETS:
            raise InvalidRequest("name", f"there are {MAX_BUDGETS} budgets: remove one first")

        def replaced(current: Budget | None) -> Budget:
            _refuse_newer(current)
            if current is None or current.error or _starts_anew(current, new):
                return new
            return msgspec.structs.replace(
                new, generation=current.generation, is_counting=current.is_counting
            )

        await self._store.budgets.change(name, replaced)
        if before is not None and not before.error and _starts_anew(before, new):
            await self._store.budgets.let_expire(before, self._clock.now())
        what = f"{new.limit:.10g} credits ({new.period}, {new.time_zone}) for {new.scope}"
        await self._audit(BudgetAction.SET_BUDGET, name, what, actor)
        shown = await self.find(name)
        await self._announce(BudgetChange.SET, shown.status)
        return shown

    async def remove(self, name: str, actor: Actor) -> ShownBudget:
        """Remove a budget; the jobs that wait for it go on. Returns it as it was.

        Raises `NoSuchBudget` and `NewerRecordError`.
        """
        before = await self.find(name)

        def removed(current: Budget | None) -> None:
            _refuse_newer(current)

        await self._store.budgets.change(name, removed)
        budget = before.status.budget
        await self._store.budgets.let_expire(budget, self._clock.now())
        what = f"for {budget.scope}" if budget.scope else "it could not be read"
        await self._store.warnings.drop_budget(name)
        await self._audit(BudgetAction.REMOVE_BUDGET, name, what, actor)
        await self._announce(BudgetChange.REMOVED, before.status)
        return before

    async def _shown(self, statuses: list[BudgetStatus]) -> list[ShownBudget]:
        others = [one.budget.name for one in statuses if not one.budget.is_for_lanes]
        counts = await self._store.budgets.waiting_counts(others) if others else []
        left_lanes = dict(zip(others, counts, strict=True))
        queues = await self._lane_queues() if len(others) < len(statuses) else LaneQueues({}, {})
        short = {*queues.without_room(statuses), *(name for name in others if left_lanes[name])}
        return [
            ShownBudget(
                one,
                queues.waiting(one) + left_lanes.get(one.budget.name, 0),
                state_of(one, job_waits=one.budget.name in short),
            )
            for one in statuses
        ]

    async def _lane_queues(self) -> LaneQueues:
        """What is queued in the lanes, and what it is likely to cost."""
        queued = await self._store.lanes.queued_counts()
        return LaneQueues(queued, await self._estimator.estimates(queued.keys()))

    def _checked(self, name: str, wanted: BudgetRequest, actor: Actor) -> Budget:
        require_name(name, NAME)
        scope = _parsed_scope(wanted.scope)
        if wanted.period not in tuple(BudgetPeriod):
            raise InvalidRequest("period", f"must be one of {', '.join(BudgetPeriod)}")
        if not math.isfinite(wanted.limit) or not MIN_LIMIT <= wanted.limit <= MAX_CREDITS:
            raise InvalidRequest(
                "limit", f"must be a number of credits more than 0 and at most {MAX_CREDITS:,.0f}"
            )
        require_time_zone(wanted.time_zone)
        now = self._clock.now()
        return Budget(
            name=name,
            scope=scope,
            period=BudgetPeriod(wanted.period),
            limit=wanted.limit,
            time_zone=wanted.time_zone,
            generation=int(now * 1_000),
            set_at=now,
            set_by=actor.name,
            note=actor.note,
        )

    async def _require_known_account(self, new: Budget) -> None:
        """Refuse an account that no worker has a key for, unless none has started yet."""
        account, known = new.scope.partition("/")[0], await self._store.accounts.known()
        if new.is_for_lanes and known and account not in known:
            names = ", ".join(sorted(known))
            raise InvalidRequest("scope", f"{account} has no API key; there are: {names}")

    async def _announce(self, change: BudgetChange, status: BudgetStatus) -> None:
        notice = budget_notice(change, status, self._clock.now())
        await self._store.warnings.announce_budget(notice)

    async def _audit(self, action: BudgetAction, name: str, what: str, actor: Actor) -> None:
        note = what + (f": {actor.note}" if actor.note else "")
        entry = NewAuditEntry(self._clock.now(), actor.name, action, f"budget {name}", note, 0)
        await self._store.audit.record(entry)


def _parsed_scope(text: str) -> str:
    """A scope whose tag or batch jobs can have."""
    try:
        scope = parse_budget_scope(text)
    except ValueError as error:
        raise InvalidRequest("scope", str(error)) from None
    for prefix, most in _LONGEST.items():
        name = scope.removeprefix(prefix)
        tenant = f"(?:{TENANT.pattern}{TENANT_MARK})?" if prefix == BATCH else ""
        if name != scope and not re.fullmatch(f"{tenant}{TAG_CHAR}{{1,{most}}}", name):
            raise InvalidRequest(
                "scope",
                f"{prefix}NAME: the name of a {prefix[:-1]} has 1 to {most} letters, digits and"
                " . _ : @ / + = -",
            )
    return scope


def _refuse_newer(current: Budget | None) -> None:
    """Raise `NewerRecordError` for a budget that this version must not change."""
    if current is not None and current.is_newer:
        why = current.error.removeprefix(f"{NEWER_SCHEMA}: ")
        raise NewerRecordError("the budget", current.name, why)


def _starts_anew(current: Budget, new: Budget) -> bool:
    """Whether another budget is meant than the one of the same name."""
    return (current.scope, current.period, current.time_zone) != (
        new.scope,
        new.period,
        new.time_zone,
    )
