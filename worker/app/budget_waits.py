"""Why budgets keep a queued job from running."""

from typing import Final

from jobs.budgets.room import BudgetRoom
from jobs.budgets.texts import budget_blocker
from jobs.job import Job
from jobs.states import State
from jobs.texts import pluralize
from jobs.why import Blocker
from worker.app.visible_texts import sees_all_texts
from worker.engine.cost_estimator import CostEstimator
from worker.store import Store

HIDDEN: Final = "a budget keeps it from running [details need role read, and no tenant]"
"""Who may not see what runs cost is shown neither a budget nor what is used of it."""


class BudgetWaits:
    """Explains waits for budgets; where there are none, that costs one command."""

    def __init__(self, store: Store, estimator: CostEstimator) -> None:
        self._store = store
        self._estimator = estimator

    async def blockers(self, job: Job, active: int, now: float) -> tuple[Blocker, ...]:
        """What budgets keep a queued job from being admitted; `active`: running jobs of its lane.

        The one that has no room, its place among the jobs that wait for the same budget, and that
        runs of unknown cost go one at a time.
        """
        if job.state is not State.QUEUED:
            return ()
        room = BudgetRoom(await self._store.budgets.statuses(now))
        found: list[Blocker] = []
        if not room.is_empty:
            estimate = (await self._estimator.estimates([job.lane]))[job.lane]
            decision = room.of_job(job, estimate)
            if (blocker := budget_blocker(decision, estimate)) is not None:
                found.append(blocker)
            elif decision.is_cost_unknown and active:
                text = "nothing is known of what a run costs, and budgets apply"
                found.append(Blocker("budget", f"{text}: such runs of a lane go one at a time"))
        if job.waits_for_budget is not None:
            found.append(await self._place(job, job.waits_for_budget, has_room=not found))
        if found and not sees_all_texts():
            return (Blocker("budget", HIDDEN, until=found[0].until),)
        return tuple(found)

    async def _place(self, job: Job, budget: str, *, has_room: bool) -> Blocker:
        """How many jobs are before it among those that wait for a budget of a tag or batch."""
        ahead = await self._store.budgets.position(budget, job.id) or 0
        text = f"{pluralize(ahead, 'job')} before it among those that wait for budget {budget}"
        if has_room:
            text += ", which has room: they return to their lanes within seconds"
        return Blocker("budget", text)
