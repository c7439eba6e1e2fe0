"""What the page of budgets shows of each: the bar, the state in words, and the jobs that wait."""

import math
from dataclasses import dataclass
from typing import Final, assert_never
from urllib.parse import urlencode

from jobs.budgets.record import BATCH, TAG, Budget
from jobs.budgets.room import credits_of
from jobs.budgets.state import BudgetState
from jobs.budgets.texts import PER_PERIOD, action_text
from jobs.states import State
from worker.app.budgets import ShownBudget

BAR_WIDTH: Final = 200
_SCOPE_FIELDS: Final = ("account", "kind", "target")


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One budget; amounts are credits."""

    budget: Budget
    state: BudgetState
    state_text: str
    action: str
    per_period: str
    spent: float
    reserved: float
    left: float
    exceeded_by: float
    percent: int
    """What is spent and reserved of the limit, rounded down."""
    spent_width: float
    reserved_width: float
    """Parts of the bar, of `BAR_WIDTH` together at most."""
    resets_at: float | None
    """None for a total."""
    waiting: int
    waiting_href: str
    """The list of the queued jobs of its scope; empty where its record cannot be read."""


def budget_row(shown: ShownBudget) -> BudgetRow:
    """What the page shows of a budget."""
    status, state = shown.status, shown.state
    budget, use, limit = status.budget, status.use, status.budget.limit_micro
    scale = max(limit, use.total, 1)
    end = status.window.end
    return BudgetRow(
        budget=budget,
        state=state,
        state_text=_state_text(shown),
        action=action_text(status, state),
        per_period=PER_PERIOD[budget.period],
        spent=credits_of(use.spent),
        reserved=credits_of(use.reserved),
        left=credits_of(max(0, status.left)),
        exceeded_by=credits_of(max(0, -status.left)),
        percent=use.total * 100 // limit if limit else 100,
        spent_width=round(BAR_WIDTH * use.spent / scale, 1),
        reserved_width=round(BAR_WIDTH * use.reserved / scale, 1),
        resets_at=end if math.isfinite(end) else None,
        waiting=shown.waiting,
        waiting_href=_waiting_href(budget.scope),
    )


def budget_fields(budget: Budget) -> dict[str, str]:
    """The values of the form that changes a budget."""
    return {
        "name": budget.name,
        "scope": budget.scope,
        "period": budget.period,
        "limit": f"{budget.limit:.10g}",
        "time_zone": budget.time_zone,
    }


def _state_text(shown: ShownBudget) -> str:
    state = shown.state
    match state:
        case BudgetState.OPEN:
            return "open"
        case BudgetState.CLOSED if shown.status.left > 0:
            return "closed: a waiting job is expected to cost more than is left"
        case BudgetState.CLOSED:
            return "closed: nothing is left"
        case BudgetState.COUNTING:
            return "counting what is in flight"
        case BudgetState.UNREADABLE:
            return f"cannot be read, and admits nothing: {shown.status.budget.error}"
        case _:
            assert_never(state)


def _waiting_href(scope: str) -> str:
    if not scope:
        return ""
    name, _, value = scope.partition(":")
    is_lane = not scope.startswith((TAG, BATCH))
    fields = (
        list(zip(_SCOPE_FIELDS, scope.split("/"), strict=False)) if is_lane else [(name, value)]
    )
    return f"/jobs?{urlencode([('state', State.QUEUED.value), *fields])}"
