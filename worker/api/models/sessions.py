"""Responses that show browser sessions."""

from typing import Annotated

from msgspec import Meta

from worker.api.auth.sessions import OpenSession
from worker.api.models.response import ResponseModel, Time, rfc3339


class SessionResponse(ResponseModel):
    """A browser that is logged in."""

    id: str
    token: Annotated[str, Meta(description="the name of the token it logged in with")]
    client: Annotated[str, Meta(description="the address it logged in from")]
    opened_at: Time
    ends_at: Annotated[Time, Meta(description="if it is not used until then")]


class SessionPageResponse(ResponseModel):
    """Sessions, the oldest first."""

    items: list[SessionResponse]
    next_cursor: None


def session_response(session: OpenSession) -> SessionResponse:
    """A session, without anything that opens it."""
    return SessionResponse(
        id=session.id,
        token=session.name,
        client=session.client,
        opened_at=rfc3339(session.opened_at),
        ends_at=rfc3339(session.ends_at),
    )
