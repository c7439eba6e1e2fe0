"""Responses that show budgets."""

import math
from typing import Annotated

from msgspec import Meta

from jobs.budgets.record import BudgetPeriod
from jobs.budgets.room import credits_of
from jobs.budgets.state import BudgetState
from jobs.budgets.texts import action_text
from worker.api.models.response import ResponseModel, Time, rfc3339
from worker.app.budgets import ShownBudget


class BudgetResponse(ResponseModel):
    """A limit in credits, and what is used of it in the present period. Amounts are credits."""

    name: str
    scope: Annotated[
        str,
        Meta(
            description="an account, account/kind, account/kind/target, tag:NAME or batch:NAME;"
            " empty where its record cannot be read: it stops every job then"
        ),
    ]
    period: BudgetPeriod
    limit: float
    time_zone: Annotated[str, Meta(description="days and months begin at midnight there")]
    spent: Annotated[
        float,
        Meta(description="what ended attempts cost; their estimate where that is not known yet"),
    ]
    reserved: Annotated[
        float, Meta(description="what attempts may cost that run, or whose outcome is unknown")
    ]
    left: Annotated[float, Meta(description="what may still be reserved; 0 where it is exceeded")]
    exceeded_by: Annotated[
        float,
        Meta(
            description="what is spent and reserved above the limit, else 0: runs cost more than"
            " their estimate, or it was set lower than what was used"
        ),
    ]
    starts_at: Annotated[
        Time | None, Meta(description="when the present period began; null for a total")
    ]
    resets_at: Annotated[
        Time | None, Meta(description="when the next period begins; null for a total")
    ]
    state: Annotated[
        BudgetState,
        Meta(
            description="open; closed: nothing is left, or less than a waiting job is expected to"
            " cost; counting: what was in flight when it was"
            " set is counted, and nothing is admitted for some seconds; unreadable: see `error`"
        ),
    ]
    action: Annotated[
        str, Meta(description="what an operator can do where it admits nothing, else empty")
    ]
    error: Annotated[str, Meta(description="why its record cannot be read; empty where it can be")]
    waiting: Annotated[
        int,
        Meta(
            description="queued jobs that it keeps from running; a job counts with each budget that"
            " has no room for it, of tags and batches with one of them"
        ),
    ]
    set_by: str
    set_at: Annotated[Time | None, Meta(description="null where its record cannot be read")]
    note: str


class BudgetPageResponse(ResponseModel):
    """Budgets, by name."""

    items: list[BudgetResponse]
    next_cursor: None


def budget_response(shown: ShownBudget) -> BudgetResponse:
    """A budget as JSON."""
    status = shown.status
    budget, window, use = status.budget, status.window, status.use
    return BudgetResponse(
        name=budget.name,
        scope=budget.scope,
        period=budget.period,
        limit=budget.limit,
        time_zone=budget.time_zone,
        spent=credits_of(use.spent),
        reserved=credits_of(use.reserved),
        left=credits_of(max(0, status.left)),
        exceeded_by=credits_of(max(0, -status.left)),
        starts_at=_time(window.start),
        resets_at=_time(window.end),
        state=shown.state,
        action=action_text(status, shown.state),
        error=budget.error,
        waiting=shown.waiting,
        set_by=budget.set_by,
        set_at=None if budget.error else rfc3339(budget.set_at),
        note=budget.note,
    )


def _time(at: float) -> str | None:
    """A bound of a period; None for that of a total."""
    return rfc3339(at) if math.isfinite(at) else None
