"""Holds: what is closed, what a person does about it, and what a release will do."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from jobs.holds import Hold, HoldPhase
from jobs.lanes import parse_scope
from worker.api.models.requests import HoldBody
from worker.api.problems import bad_field
from worker.app.queries import QueueStats
from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.formatting import count
from worker.dashboard.views.summary import queued_behind, waiting_text


@dataclass(frozen=True, slots=True)
class HoldSummary:
    """A hold with what waits for it."""

    hold: Hold
    parked_jobs: int
    queued_jobs: int

    @property
    def is_pause(self) -> bool:
        """Whether a person put it up."""
        return self.hold.is_manual

    @property
    def is_opening(self) -> bool:
        """Whether it was released and proves itself."""
        return self.hold.phase is HoldPhase.OPENING

    @property
    def waiting_text(self) -> str:
        """How many jobs wait."""
        return waiting_text(self.parked_jobs, self.queued_jobs)

    @property
    def effect(self) -> str:
        """What a release will do, said beforehand."""
        jobs = count(self.parked_jobs + self.queued_jobs, "job")
        if self.is_pause:
            return f"Ends the pause at once: {jobs} may run"
        if self.is_opening:
            return "It is opening already: releasing it again puts what it parked meanwhile in line"
        others = self.parked_jobs + self.queued_jobs - 1
        spared = f", and the other {count(others, 'job')} not sent" if others > 0 else ""
        return (
            f"Puts {count(self.parked_jobs, 'job')} back in line; one canary goes first, then"
            " 2, 4, 8 …"
            f" at once. Should it be refused again, the gate is closed{spared}"
        )


def hold_summaries(stats: QueueStats, holds: Sequence[tuple[Hold, int]]) -> list[HoldSummary]:
    """Every hold, those that keep most waiting first."""
    seen = [HoldSummary(hold, parked, queued_behind(hold, stats)) for hold, parked in holds]
    return sorted(seen, key=lambda one: (one.is_opening, -(one.parked_jobs + one.queued_jobs)))


async def holds_page(page_request: PageRequest) -> web.StreamResponse:
    """Closed and opening gates."""
    review = page_request.context.queries
    seen = hold_summaries(await review.stats(), await review.holds())
    return await page_request.render(
        "holds.html", holds=seen, scope=page_request.request.query.get("scope", "")
    )


async def pause_scope(page_request: PageRequest) -> web.StreamResponse:
    """Pause a scope."""
    form = await page_request.form()
    try:
        scope = parse_scope(form.get("scope", "").strip())
    except ValueError:
        wanted = HoldBody.model_fields["scope"].description
        raise bad_field("scope", f"must be {wanted}") from None
    hold = await page_request.context.actions.place_hold(scope, await page_request.actor())
    return await page_request.redirect_back(
        f"Paused {hold.scope}: nothing is sent for it until it is released"
    )


async def release_hold(page_request: PageRequest) -> web.StreamResponse:
    """Open a gate, and put the jobs it parked back in line."""
    hold, freed = await page_request.context.actions.release_hold(
        page_request.request.match_info["id"], await page_request.actor()
    )
    told = f"Released {hold.scope} ({hold.code}): {count(freed, 'job')} back in line"
    if not hold.is_manual:
        told += "; one canary goes first"
    return await page_request.redirect_back(told)
