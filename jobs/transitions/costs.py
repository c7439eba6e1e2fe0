"""What attempts cost, as the provider's list of runs tells it after they have ended."""

from collections.abc import Mapping

import msgspec

from jobs.credits.closing import awaits_cost
from jobs.credits.sources import CostSource
from jobs.job import Job


def record_costs(
    job: Job, now: float, costs: Mapping[int, float], *, next_check_at: float | None
) -> Job:
    """The job in the same state, with the costs (credits) of attempts that had an estimate.

    `costs`: by the number of the attempt. A cost that is known already stays. `next_check_at`:
    when to look for the cost of the others, Unix seconds; None to leave them at their estimates.
    """
    attempts = tuple(
        msgspec.structs.replace(attempt, cost=costs[attempt.number], cost_source=CostSource.USAGE)
        if awaits_cost(attempt) and attempt.number in costs
        else attempt
        for attempt in job.attempts
    )
    told = [
        costs[attempt.number]
        for attempt in job.attempts
        if awaits_cost(attempt) and attempt.number in costs
    ]
    is_open = any(awaits_cost(attempt) for attempt in attempts)
    return msgspec.structs.replace(
        job,
        updated_at=now,
        attempts=attempts,
        cost=(job.cost or 0.0) + sum(told) if told else job.cost,
        cost_check_at=next_check_at if is_open else None,
    )
