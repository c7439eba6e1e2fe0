"""Budgets in words: what is used of one, and what an operator can do where it admits nothing."""

from typing import Final, assert_never

from jobs.budgets.record import BudgetPeriod
from jobs.budgets.room import BudgetStatus, credits_of
from jobs.budgets.state import BudgetState
from jobs.newer import ACTION_NEWER

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
