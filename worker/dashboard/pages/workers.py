"""The forms that drain a worker, and undo it."""

from aiohttp import web

from jobs.texts import pluralize
from worker.dashboard.page_request import PageRequest


async def drain_worker(page_request: PageRequest) -> web.StreamResponse:
    """Take a worker out of service."""
    worker = await page_request.context.use_cases.actions.drain_worker(
        page_request.request.match_info["id"], await page_request.actor()
    )
    left = f"{pluralize(worker.sync_runs, 'sync run')} to finish"
    return await page_request.redirect_back(
        f"Drained {worker.id}: it takes no new jobs; it had {left}"
    )


async def undo_drain(page_request: PageRequest) -> web.StreamResponse:
    """Let a drained worker take jobs again."""
    worker = await page_request.context.use_cases.actions.undo_drain(
        page_request.request.match_info["id"], await page_request.actor()
    )
    return await page_request.redirect_back(f"Drain undone: {worker.id} takes new jobs")
