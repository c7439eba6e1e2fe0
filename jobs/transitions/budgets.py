"""Transitions that budgets cause: a queued job waits or parks, one in flight is counted."""

import msgspec

from jobs.budgets.reservation import Reservation
from jobs.budgets.room import BudgetStatus
from jobs.budgets.use import is_in_flight
from jobs.credits.charges import micro_credits
from jobs.error_table import ACTION_BUDGET
from jobs.job import BUDGET, Job, Reason
from jobs.lifecycle import Transition
from jobs.states import State
from jobs.transitions.builders import next_version


def wait_for_budget(job: Job, budget: str | None) -> Job:
    """The queued job, kept out of its lane by a budget, or back in its old place (None).

    It has no event: a job may wait and come back many times.
    """
    if job.state is not State.QUEUED or job.waits_for_budget == budget:
        return job
    return msgspec.structs.replace(job, waits_for_budget=budget)


def park_over_budget(job: Job, now: float, status: BudgetStatus, estimate: float | None) -> Job:
    """`queued` → `parked` as `budget`: its run would cost more than the whole limit."""
    budget = status.budget
    message = (
        f"a run is expected to cost {estimate or 0.0:.10g} credits, and the limit of budget "
        f"{budget.name} is {budget.limit:.10g} a {budget.period}".replace(" a total", " in total")
    )
    reason = Reason(code=BUDGET, message=message, action=ACTION_BUDGET)
    return next_version(
        job, Transition.PARK_OVER_BUDGET, now, note=budget.name, reason=reason, bypass_hold=False
    )


def reserve(job: Job, status: BudgetStatus) -> Job:
    """The job in the same state; what it has in flight is counted by a budget that is new.

    Also what has ended since the budget was set. The job itself if there is nothing of that, or it
    is counted already.
    """
    budget = status.budget
    new = Reservation(
        budget.name, budget.generation, status.window.key, micro_credits(job.estimate) or 0
    )
    if job.state is State.SUBMITTING and job.sent_at is None:
        if _is_counted(job.reservations, new):
            return job
        return msgspec.structs.replace(job, reservations=(*job.reservations, new))
    attempts = tuple(
        msgspec.structs.replace(attempt, reservations=(*attempt.reservations, new))
        if (is_in_flight(job, attempt) or (attempt.ended_at or 0.0) >= budget.set_at)
        and not _is_counted(attempt.reservations, new)
        else attempt
        for attempt in job.attempts
    )
    return job if attempts == job.attempts else msgspec.structs.replace(job, attempts=attempts)


def _is_counted(reservations: tuple[Reservation, ...], new: Reservation) -> bool:
    return any(
        one.budget == new.budget and one.generation == new.generation for one in reservations
    )
