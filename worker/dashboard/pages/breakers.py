"""The forms that probe and reset a breaker; the holds page and the overview list breakers."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from jobs.breakers import Breaker, BreakerState
from jobs.breakers.texts import advice_text, cause_text, error_text, state_text
from jobs.newer import is_newer_gate
from worker.app.extras import extra_or
from worker.app.queries import BreakerSummary
from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.formatting import count


@dataclass(frozen=True, slots=True)
class BreakerCard:
    """A breaker as a page shows it."""

    breaker: Breaker
    queued_jobs: int
    now: float

    @property
    def is_open(self) -> bool:
        """Whether it lets nothing through."""
        return self.breaker.state is BreakerState.OPEN

    @property
    def is_newer(self) -> bool:
        """Whether a newer version wrote it: then it can be neither probed nor reset here."""
        return is_newer_gate(self.breaker)

    @property
    def cause_text(self) -> str:
        """What goes wrong."""
        return cause_text(self.breaker, self.now)

    @property
    def error_text(self) -> str:
        """The last error."""
        return error_text(self.breaker)

    @property
    def state_text(self) -> str:
        """What it lets through, and when it is probed."""
        return state_text(self.breaker, self.now)

    @property
    def action_text(self) -> str:
        """What an operator can do."""
        return advice_text(self.breaker, self.now)


def breaker_cards(summaries: Sequence[BreakerSummary], now: float) -> list[BreakerCard]:
    """The breakers that stop submits or slow them down."""
    return [BreakerCard(one.breaker, one.queued_jobs, now) for one in summaries]


async def probe_breaker(page_request: PageRequest) -> web.StreamResponse:
    """Make the next probe of a breaker now."""
    breaker = await page_request.context.use_cases.breakers.probe(
        page_request.request.match_info["id"], await page_request.actor()
    )
    if breaker.state is not BreakerState.OPEN:
        return await page_request.redirect_back(f"The breaker of {breaker.scope} is not open now")
    return await page_request.redirect_back(f"{breaker.scope} is probed now")


async def reset_breaker(page_request: PageRequest) -> web.StreamResponse:
    """Close a breaker."""
    breaker = await page_request.context.use_cases.breakers.reset(
        page_request.request.match_info["id"], await page_request.actor()
    )
    queries = page_request.context.use_cases.queries
    summary = await extra_or(None, queries.breaker_summary(breaker))
    waiting = count(summary.queued_jobs, "queued job") if summary else "its queued jobs"
    return await page_request.redirect_back(
        f"Reset the breaker of {breaker.scope}: {waiting} can be sent"
    )
