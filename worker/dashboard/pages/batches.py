"""Batches: how far each is, what it cost, what failed."""

from typing import Final

from aiohttp import web

from jobs.states import State
from worker.api.problems import Problem
from worker.dashboard.page_request import Visit

SHOWN: Final = 20
UNDER_WAY: Final = (
    State.SCHEDULED,
    State.QUEUED,
    State.SUBMITTING,
    State.RUNNING,
    State.RETRYING,
    State.CANCELLING,
)
ORDER: Final = (State.SUCCEEDED, *UNDER_WAY, State.PARKED, State.DEAD, State.CANCELLED)
"""States of a progress bar, from done to failed."""


async def batches_page(visit: Visit) -> web.StreamResponse:
    """Batches, the one used last first."""
    text = visit.request.query.get("from", "0")
    first = int(text[:9]) if text.isdecimal() and text.isascii() else 0
    name = visit.request.query.get("name", "").strip()
    batches = visit.office.store.batches
    if name:
        found = [one] if (one := await batches.one(name)) is not None else []
        total, names_more = len(found), False
    else:
        found, total = await batches.page(first, SHOWN)
        names_more = first + SHOWN < total
    if name and not found:
        raise Problem(404, "no-such-batch", "No such batch", f"there is no batch {name[:128]!r}")
    return await visit.answer(
        "batches.html",
        batches=found,
        total=total,
        first=first,
        more=first + SHOWN if names_more else None,
        name=name,
        order=ORDER,
        under_way=UNDER_WAY,
    )
