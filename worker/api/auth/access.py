"""Authentication: bearer tokens for programs, sessions for browsers, or this machine alone.

Without tokens in the settings everyone who reaches the port may do everything. So only loopback is
served, and requests of foreign web pages are refused (see `origin`). The principal is `local` then.

A browser logs in once (`POST /login`) and has a session in a cookie. For pages see `page_guard`.
"""

import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from config.values import ApiToken, Role
from worker.api.auth.origin import require_csrf, require_loopback
from worker.api.auth.principal import (
    REALM,
    Principal,
    require_role,
    set_principal,
    unauthorized,
)
from worker.api.auth.sessions import Sessions, csrf_of

LOCAL: Final = "local"
"""The principal's name where no tokens are set."""

COOKIE: Final = "knouds_session"


class Access:
    """Checks requests against the tokens of the settings and the sessions opened with them."""

    def __init__(self, tokens: Sequence[ApiToken], sessions: Sessions) -> None:
        self._tokens = [(token.secret.get_secret_value().encode(), token) for token in tokens]
        self.sessions = sessions
        self._local_principal = Principal(LOCAL, Role.OPERATE, csrf_of(secrets.token_urlsafe()))

    @property
    def needs_login(self) -> bool:
        """Whether tokens are set."""
        return bool(self._tokens)

    async def authorize(self, request: web.Request, role: Role | None) -> None:
        """Raise `Problem` (401, 403) for an API request that may not do what needs `role`.

        None: open to all. Without tokens, programs and our own pages may call; with them a bearer
        token is needed, or a session with its CSRF token.
        """
        if not self._tokens:
            require_loopback(request)
            set_principal(self._local_principal)
        elif role is not None:
            set_principal(await self._authenticate(request, role))

    async def find_principal(self, request: web.Request) -> Principal | None:
        """The principal of a page request: `local`, the operator who is logged in, or None."""
        if self._tokens:
            principal = await self._session_principal(request)
        else:
            require_loopback(request)
            principal = self._local_principal
        set_principal(principal)
        return principal

    def find_token(self, secret: str) -> ApiToken | None:
        """The token with this secret. Compares with every token, so that time reveals nothing."""
        given = secret.encode("utf-8", "surrogateescape")
        match = None
        for known, token in self._tokens:
            if hmac.compare_digest(known, given):
                match = token
        return match

    async def _authenticate(self, request: web.Request, role: Role) -> Principal:
        if "Authorization" not in request.headers and COOKIE in request.cookies:
            principal = await self._session_principal(request)
            if principal is None:
                raise unauthorized("the session has ended: log in again")
            require_role(principal, role)
            await require_csrf(request, principal)
            return principal
        return self._bearer_principal(request, role)

    async def _session_principal(self, request: web.Request) -> Principal | None:
        secret = request.cookies.get(COOKIE)
        session = await self.sessions.find(secret) if secret else None
        if session is None:
            return None
        return Principal(session.token.name, session.token.role, session.csrf)

    def _bearer_principal(self, request: web.Request, role: Role) -> Principal:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise unauthorized(
                "send a token of KNOUDS_API_TOKENS as `Authorization: Bearer <secret>`"
            )
        token = self.find_token(given.strip())
        if token is None:
            detail = "no token of KNOUDS_API_TOKENS has this secret"
            raise unauthorized(detail, f'{REALM}, error="invalid_token"')
        principal = Principal(token.name, token.role)
        require_role(principal, role)
        return principal


ACCESS: Final = web.AppKey("access", Access)
