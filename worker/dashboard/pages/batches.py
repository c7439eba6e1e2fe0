"""Batches: progress, cost and failures of each."""

from typing import Final

from aiohttp import web

from jobs.states import State
from worker.api.problems import Problem
from worker.dashboard.page_request import PageRequest
from worker.engine.unreadable_records import dead_letter_unreadable

PAGE_SIZE: Final = 20
IN_PROGRESS_STATES: Final = (
    State.SCHEDULED,
    State.QUEUED,
    State.SUBMITTING,
    State.RUNNING,
    State.RETRYING,
    State.CANCELLING,
)
PROGRESS_ORDER: Final = (
    State.SUCCEEDED,
    *IN_PROGRESS_STATES,
    State.PARKED,
    State.DEAD,
    State.CANCELLED,
)
"""States of a progress bar in order, from succeeded to cancelled."""


async def batches_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the batches, the most recently used first; `name` selects one."""
    text = page_request.request.query.get("from", "0")
    first = int(text[:9]) if text.isdecimal() and text.isascii() else 0
    name = page_request.request.query.get("name", "").strip()
    batches = page_request.context.store.read.batches
    if name:
        found = [one] if (one := await batches.find(name)) is not None else []
        total, has_more = len(found), False
    else:
        found, total = await batches.page(first, PAGE_SIZE)
        has_more = first + PAGE_SIZE < total
    for batch in found:
        await dead_letter_unreadable(
            page_request.context.store.jobs, batch.unreadable, page_request.now
        )
    if name and not found:
        raise Problem(404, "no-such-batch", "No such batch", f"there is no batch {name[:128]!r}")
    return await page_request.render(
        "batches.html",
        batches=found,
        total=total,
        first=first,
        more=first + PAGE_SIZE if has_more else None,
        name=name,
        progress_order=PROGRESS_ORDER,
        in_progress=IN_PROGRESS_STATES,
    )
