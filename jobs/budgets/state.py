"""Whether a budget admits jobs."""

from enum import StrEnum

from jobs.budgets.room import BudgetStatus


class BudgetState(StrEnum):
    """Whether a budget admits jobs."""

    OPEN = "open"
    """It admits what fits in what is left."""
    CLOSED = "closed"
    """Nothing is left in this period, or less than a waiting job is expected to cost."""
    COUNTING = "counting"
    """What was in flight when it was set is being counted: nothing is admitted for some seconds."""
    UNREADABLE = "unreadable"
    """Its record cannot be read, or a newer version wrote it: nothing is admitted."""


def state_of(status: BudgetStatus, *, job_waits: bool = False) -> BudgetState:
    """The state of a budget in its present period.

    `job_waits`: a job waits that is expected to cost more than is left.
    """
    if status.budget.error:
        return BudgetState.UNREADABLE
    if status.budget.is_counting:
        return BudgetState.COUNTING
    return BudgetState.CLOSED if status.left <= 0 or job_waits else BudgetState.OPEN
