"""Budgets in words: what is used of one, why a job waits for it, and what an operator can do."""

import math
from typing import Final, assert_never

from jobs.budgets.record import BudgetPeriod
from jobs.budgets.room import BudgetAnswer, BudgetDecision, BudgetStatus, credits_of
from jobs.budgets.state import BudgetState, state_of
from jobs.newer import ACTION_NEWER
from jobs.why import Blocker

PER_PERIOD: Final = {
    BudgetPeriod.DAY: "a day",
    BudgetPeriod.MONTH: "a month",
    BudgetPeriod.TOTAL: "in total",
}

ACTION_COUNTING: Final = "Nothing: it admits jobs in some seconds, once a worker has counted"
ACTION_UNREADABLE: Final = "Set it anew, or remove it"


def limit_text(status: BudgetStatus) -> str:
    """The limit of a budget, as `100 credits a day`."""
    budget = status.budget
    return f"{budget.limit:,.10g} credits {PER_PERIOD[budget.period]}"


def use_text(status: BudgetStatus) -> str:
    """What is used of a budget, as `60 spent and 40 reserved of 100 credits a day`."""
    spent, reserved = credits_of(status.use.spent), credits_of(status.use.reserved)
    return f"{spent:,.10g} spent and {reserved:,.10g} reserved of {limit_text(status)}"


def action_text(status: BudgetStatus, state: BudgetState) -> str:
    """What an operator can do about a budget that admits nothing; empty for an open one."""
    match state:
        case BudgetState.OPEN:
            return ""
        case BudgetState.CLOSED:
            return action_for_room(status)
        case BudgetState.COUNTING:
            return ACTION_COUNTING
        case BudgetState.UNREADABLE:
            return ACTION_NEWER if status.budget.is_newer else ACTION_UNREADABLE
        case _:
            assert_never(state)


def action_for_room(status: BudgetStatus) -> str:
    """What gives a budget room again."""
    if status.budget.period is BudgetPeriod.TOTAL:
        return "Raise the limit, or remove the budget"
    return f"Wait for the next {status.budget.period}, or raise the limit"


def budget_blocker(decision: BudgetDecision, estimate: float | None) -> Blocker | None:
    """Why budgets do not let a queued job be admitted; None if they do.

    `estimate`: the credits that its run is expected to cost.
    """
    status = decision.by
    if status is None:
        return None
    budget, state = status.budget, state_of(status)
    if state in (BudgetState.UNREADABLE, BudgetState.COUNTING):
        why = (
            f"cannot be read: {budget.error}"
            if budget.error
            else f"was set by {budget.set_by}: what is in flight is counted first"
        )
        return Blocker("budget", f"budget {budget.name} {why}", action_text(status, state))
    use = f"{use_text(status)}, set by {budget.set_by}"
    cost = f"a run is expected to cost {estimate or 0:,.10g} credits"
    match decision.answer:
        case BudgetAnswer.FITS:
            return None
        case BudgetAnswer.NEVER_FITS:
            text = f"{cost}, more than the whole limit of budget {budget.name} on {budget.scope}"
            action = "Raise the limit of the budget, or cancel the job"
            return Blocker("budget", f"{text}: {use}", action)
        case BudgetAnswer.WAITS:
            left = f"budget {budget.name} on {budget.scope} has {_left_text(status)} left"
            text = f"{left}: {use}" if status.left <= 0 else f"{cost}, and {left}: {use}"
            end = status.window.end
            until = end if math.isfinite(end) else None
            return Blocker("budget", text, action_for_room(status), until=until)
        case _:
            assert_never(decision.answer)


def _left_text(status: BudgetStatus) -> str:
    return f"{credits_of(status.left):,.10g}" if status.left > 0 else "nothing"
