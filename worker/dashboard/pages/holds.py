"""Holds: what is closed, what a person does about it, and what a release will do."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from jobs.holds import Hold, Phase
from jobs.lanes import parse_scope
from jobs.transitions import MANUAL
from worker.api.models.requests import HoldRequest
from worker.api.problems import bad_field
from worker.app.queries import Stats
from worker.dashboard.page_request import Visit
from worker.dashboard.views.formatting import count
from worker.dashboard.views.summary import queued_behind, waiting_text


@dataclass(frozen=True, slots=True)
class HoldSeen:
    """A hold with what waits for it."""

    hold: Hold
    parked: int
    behind: int

    @property
    def is_pause(self) -> bool:
        """Whether a person put it up."""
        return self.hold.code == MANUAL

    @property
    def is_opening(self) -> bool:
        """Whether it was released and proves itself."""
        return self.hold.phase is Phase.OPENING

    @property
    def waiting(self) -> str:
        """How many jobs wait."""
        return waiting_text(self.parked, self.behind)

    @property
    def effect(self) -> str:
        """What a release will do, said beforehand."""
        jobs = count(self.parked + self.behind, "job")
        if self.is_pause:
            return f"Ends the pause at once: {jobs} may run"
        if self.is_opening:
            return "It is opening already: releasing it again puts what it parked meanwhile in line"
        others = self.parked + self.behind - 1
        spared = f", and the other {count(others, 'job')} not sent" if others > 0 else ""
        return (
            f"Puts {count(self.parked, 'job')} back in line; one canary goes first, then 2, 4, 8 …"
            f" at once. Should it be refused again, the gate is closed{spared}"
        )


def seen_holds(stats: Stats, holds: Sequence[tuple[Hold, int]]) -> list[HoldSeen]:
    """Every hold, those that keep most waiting first."""
    seen = [HoldSeen(hold, parked, queued_behind(hold, stats)) for hold, parked in holds]
    return sorted(seen, key=lambda one: (one.is_opening, -(one.parked + one.behind)))


async def holds_page(visit: Visit) -> web.StreamResponse:
    """Closed and opening gates."""
    review = visit.office.review
    seen = seen_holds(await review.stats(), await review.holds())
    return await visit.answer("holds.html", holds=seen, scope=visit.request.query.get("scope", ""))


async def pause(visit: Visit) -> web.StreamResponse:
    """Pause a scope."""
    form = await visit.form()
    try:
        scope = parse_scope(form.get("scope", "").strip())
    except ValueError:
        wanted = HoldRequest.model_fields["scope"].description
        raise bad_field("scope", f"must be {wanted}") from None
    hold = await visit.office.desk.set_hold(scope, await visit.actor())
    return await visit.back(f"Paused {hold.scope}: nothing is sent for it until it is released")


async def release_hold(visit: Visit) -> web.StreamResponse:
    """Open a gate, and put the jobs it parked back in line."""
    hold, freed = await visit.office.desk.release_hold(
        visit.request.match_info["id"], await visit.actor()
    )
    told = f"Released {hold.scope} ({hold.code}): {count(freed, 'job')} back in line"
    if hold.code != MANUAL:
        told += "; one canary goes first"
    return await visit.back(told)
