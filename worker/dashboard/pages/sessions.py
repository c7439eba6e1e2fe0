"""Browsers that are logged in, and the form that ends a session."""

from aiohttp import web

from worker.api.handlers.sessions import end_session
from worker.dashboard.page_request import PageRequest


async def sessions_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the sessions."""
    found = await page_request.context.access.sessions.list_all()
    return await page_request.render("sessions.html", sessions=found)


async def revoke_from_page(page_request: PageRequest) -> web.StreamResponse:
    """End a session."""
    actor = await page_request.actor()
    session_id = page_request.request.match_info["id"]
    ended = await end_session(page_request.request, session_id, actor.note)
    return await page_request.redirect_back(f"Ended a session of {ended.name}", path="/sessions")
