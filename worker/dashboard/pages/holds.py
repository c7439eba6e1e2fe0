"""Holds: the list, and the forms that place and release them."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from jobs.holds import Hold, HoldPhase
from jobs.lanes import parse_scope
from jobs.newer import is_newer_gate
from worker.api.models.requests import HoldBody
from worker.api.problems import bad_field
from worker.app.queries import QueueStats
from worker.app.visible_texts import visible
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.breakers import breaker_cards
from worker.dashboard.views.formatting import count
from worker.dashboard.views.summary import queued_behind, waiting_text


@dataclass(frozen=True, slots=True)
class HoldSummary:
    """A hold with the number of jobs that wait behind it."""

    hold: Hold
    parked_jobs: int
    queued_jobs: int

    @property
    def is_pause(self) -> bool:
        """Whether an operator placed it."""
        return self.hold.is_manual

    @property
    def is_opening(self) -> bool:
        """Whether it was released and still limits submits."""
        return self.hold.phase is HoldPhase.OPENING

    @property
    def is_newer(self) -> bool:
        """Whether a newer version wrote it: then it cannot be released here."""
        return is_newer_gate(self.hold)

    @property
    def waiting_text(self) -> str:
        """How many jobs wait behind it."""
        return waiting_text(self.parked_jobs, self.queued_jobs)

    @property
    def effect(self) -> str:
        """What a release will do."""
        jobs = count(self.parked_jobs + self.queued_jobs, "job")
        if self.is_pause:
            return f"Ends the pause at once: {jobs} can be sent"
        if self.is_opening:
            return "Already opening: another release queues the jobs that it parked since then"
        others = self.parked_jobs + self.queued_jobs - 1
        unsent = f"; {count(others, 'other job')} will not be sent" if others > 0 else ""
        return (
            f"Queues {count(self.parked_jobs, 'job')}; one canary is sent first, then 2, 4, 8 …"
            f" at a time. If the canary is refused, the hold closes again{unsent}"
        )


def hold_summaries(stats: QueueStats, holds: Sequence[tuple[Hold, int]]) -> list[HoldSummary]:
    """Every hold with its waiting jobs, closed ones first, then by number of jobs."""
    summaries = [HoldSummary(hold, parked, queued_behind(hold, stats)) for hold, parked in holds]
    return sorted(summaries, key=lambda one: (one.is_opening, -(one.parked_jobs + one.queued_jobs)))


async def holds_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the closed and the opening holds, and the breakers that stop submits."""
    queries = page_request.context.use_cases.queries
    stats = await queries.stats()
    summaries = hold_summaries(stats, await queries.holds())
    return await page_request.render(
        "holds.html",
        holds=summaries,
        breakers=breaker_cards(stats.breakers, page_request.now),
        scope=page_request.request.query.get("scope", ""),
        caps=visible(await page_request.context.use_cases.caps.list_all()),
    )


async def pause_scope(page_request: PageRequest) -> web.StreamResponse:
    """Place a manual hold on a scope."""
    form = await page_request.form()
    try:
        scope = parse_scope(form.get("scope", "").strip())
    except ValueError:
        expected = HoldBody.model_fields["scope"].description
        raise bad_field("scope", f"must be {expected}") from None
    hold = await page_request.context.use_cases.actions.place_hold(
        scope, await page_request.actor()
    )
    return await page_request.redirect_back(
        f"Paused {hold.scope}: nothing is sent for it until you end the pause"
    )


async def release_hold(page_request: PageRequest) -> web.StreamResponse:
    """Release a hold and queue the jobs that it parked."""
    hold, released_jobs = await page_request.context.use_cases.actions.release_hold(
        page_request.request.match_info["id"], await page_request.actor()
    )
    text = f"Released {hold.scope} ({hold.code}): {count(released_jobs, 'job')} queued"
    if not hold.is_manual:
        text += "; one canary is sent first"
    return await page_request.redirect_back(text)
