"""Browser sessions over HTTP: who is logged in, and the end of a login."""

from typing import Final

from aiohttp import web

from worker.api.auth.sessions import OpenSession
from worker.api.context import context_of, current_actor
from worker.api.models.requests import ActionBody
from worker.api.models.response import json_response
from worker.api.models.sessions import SessionPageResponse, session_response
from worker.api.parsing import read_body
from worker.api.problems import Problem
from worker.store.side_writes import NewAuditEntry

REVOKE: Final = "revoke_session"


async def list_sessions(request: web.Request) -> web.Response:
    """Every browser that is logged in."""
    found = await context_of(request).access.sessions.list_all()
    items = [session_response(one) for one in found]
    return json_response(SessionPageResponse(items=items, next_cursor=None))


async def revoke_session(request: web.Request) -> web.Response:
    """End a session: its browser has to log in again."""
    body = await read_body(request, ActionBody)
    found = await end_session(request, request.match_info["id"], body.note)
    return json_response(session_response(found))


async def end_session(request: web.Request, session_id: str, note: str) -> OpenSession:
    """End a session, with an audit entry; raises `Problem` where there is none of this id."""
    context, actor = context_of(request), current_actor(note)
    found = [one for one in await context.access.sessions.list_all() if one.id == session_id]
    if not found or not await context.access.sessions.revoke(session_id):
        detail = f"there is no session {session_id[:64]!r}: GET /v1/sessions lists them"
        raise Problem(404, "no-such-session", "No such session", detail)
    await context.store.audit.record(
        NewAuditEntry(context.clock.now(), actor.name, REVOKE, found[0].name, actor.note, 0)
    )
    return found[0]
