"""Authentication: bearer tokens for programs, sessions for browsers, or this machine alone.

A request with `Authorization` is judged by that token alone, on pages too: a wrong one is 401 and
never served as somebody else. Otherwise a session counts before the user whom a proxy names.

Without tokens in the settings everyone who reaches the port may do everything. So only loopback is
served, and requests of foreign web pages are refused (see `origin`). The principal is `local` then.

A browser logs in once (`POST /login`) and has a session in a cookie. For pages see `page_guard`.
"""

import asyncio
import math
import secrets
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from config.values import ApiToken, Role
from worker.api.auth.origin import require_csrf, require_loopback
from worker.api.auth.principal import (
    REALM,
    Principal,
    Visibility,
    require_access,
    set_principal,
    unauthorized,
)
from worker.api.auth.sessions import Sessions, csrf_of
from worker.api.auth.sign_on import SignOn
from worker.api.auth.token_guard import TokenGuard
from worker.api.edge.client_address import client_address, is_https
from worker.api.prefix import PREFIX

LOCAL: Final = "local"
"""The principal's name where no tokens are set."""

COOKIE: Final = "knouds_session"

SIGN_ON_MAX_S: Final = 60.0
"""How long a response to a user of a proxy may last: only the next request has the proxy's word."""

_SIGN_ON_MARGIN_S: Final = 5.0
"""For a long poll that lasts just so long."""

WRONG_TOKEN: Final = "no token of KNOUDS_API_TOKENS has this secret"  # noqa: S105  a message

_SEND_TOKEN: Final = "send a token of KNOUDS_API_TOKENS as `Authorization: Bearer <secret>`"  # noqa: S105  a message


def cookie_name(request: web.Request) -> str:
    """The name of the cookie: behind TLS one that no other host and no plain HTTP can set.

    A browser takes `__Host-` for the path `/` alone, so under a prefix it is `__Secure-`.
    """
    if not is_https(request):
        return COOKIE
    return f"{'__Secure-' if request.app[PREFIX] else '__Host-'}{COOKIE}"


@dataclass(frozen=True, slots=True)
class _Needed:
    """What a request needed when it was authorized, and when that was (the loop's clock)."""

    role: Role | None
    visibility: Visibility
    at: float


_NEEDED: Final = web.RequestKey("needed access", _Needed)


class Access:
    """Checks requests against the tokens of the settings and the sessions opened with them."""

    def __init__(self, guard: TokenGuard, sessions: Sessions, sign_on: SignOn) -> None:
        self.sign_on = sign_on
        self.guard = guard
        self.tokens = guard.tokens
        self.sessions = sessions
        self._local_principal = Principal(LOCAL, Role.OPERATE, csrf_of(secrets.token_urlsafe()))

    @property
    def needs_login(self) -> bool:
        """Whether callers have to authenticate: tokens are set, or a proxy names users."""
        return self.sign_on.is_on or not self.tokens.is_empty

    async def authorize(
        self, request: web.Request, role: Role | None, visibility: Visibility
    ) -> None:
        """Raise `Problem` (401, 403) for an API request that may not do what needs `role`.

        None: open to all. Without tokens, programs and our own pages may call; with them a bearer
        token is needed, or a session with its CSRF token.
        """
        set_principal(None)
        request[_NEEDED] = _Needed(role, visibility, asyncio.get_running_loop().time())
        if not self.needs_login:
            require_loopback(request)
            set_principal(self._local_principal)
        elif role is not None:
            principal = await self._authenticate(request)
            require_access(principal, role, visibility)
            if principal.csrf:
                await require_csrf(request, principal)
            set_principal(principal)

    async def confirm(self, request: web.Request) -> Principal:
        """Who sends a request that was authorized before, as it is now; it becomes the principal.

        Raises `Problem` (401, 403) where that has ended. No session is renewed by it, and a token
        that was right before is no attempt to guess one.
        """
        principal, needed = self._local_principal, request[_NEEDED]
        if self.needs_login:
            found = await self._still_valid(request, needed)
            if found is None:
                raise unauthorized("the token or the login has ended meanwhile: send another")
            principal = found
            require_access(principal, needed.role or Role.ENQUEUE, needed.visibility)
        set_principal(principal)
        return principal

    def longest_s(self, request: web.Request) -> float:
        """How long the response to a request may last: to a user of a proxy not for ever."""
        has_own = "Authorization" in request.headers or cookie_name(request) in request.cookies
        return SIGN_ON_MAX_S if self.sign_on.is_on and not has_own else math.inf

    async def _still_valid(self, request: web.Request, needed: "_Needed") -> Principal | None:
        if "Authorization" in request.headers:
            _, _, secret = request.headers["Authorization"].partition(" ")
            token = self.tokens.find(secret.strip())
            return principal_of(token) if token is not None else None
        if (principal := await self._session_principal(request, renews=False)) is not None:
            return principal
        lasted_s = asyncio.get_running_loop().time() - needed.at
        is_recent = lasted_s < SIGN_ON_MAX_S + _SIGN_ON_MARGIN_S
        return self.sign_on.find(request) if is_recent else None

    async def find_principal(self, request: web.Request) -> Principal | None:
        """The principal of a page request, or None; raises `Problem` as for one of the API."""
        if self.needs_login:
            principal = await self._identify(request)
        else:
            require_loopback(request)
            principal = self._local_principal
        set_principal(principal)
        return principal

    async def refuse_wrong_bearer(self, request: web.Request) -> None:
        """Raise `Problem` (401) for a request that sends a wrong token beside what it is for."""
        if self.needs_login and "Authorization" in request.headers:
            await self._bearer_principal(request)

    async def _authenticate(self, request: web.Request) -> Principal:
        principal = await self._identify(request)
        if principal is not None:
            return principal
        if cookie_name(request) in request.cookies:
            raise unauthorized("the session has ended: log in again")
        raise unauthorized(_SEND_TOKEN)

    async def _identify(self, request: web.Request) -> Principal | None:
        """Who sends a request: with `Authorization` that token alone, whatever else it carries."""
        if "Authorization" in request.headers:
            return await self._bearer_principal(request)
        return await self._session_principal(request) or self.sign_on.find(request)

    async def _session_principal(
        self, request: web.Request, *, renews: bool = True
    ) -> Principal | None:
        secret = request.cookies.get(cookie_name(request))
        session = await self.sessions.find(secret, renews=renews) if secret else None
        if session is None:
            return None
        return principal_of(session.token, session.csrf)

    async def _bearer_principal(self, request: web.Request) -> Principal:
        sent = request.headers.getall("Authorization")
        scheme, _, given = sent[0].partition(" ")
        if len(sent) > 1 or scheme.lower() != "bearer" or not given.strip():
            raise unauthorized(f"{_SEND_TOKEN}, once; a proxy must not send a header of its own")
        token = await self.guard.find(given.strip(), client_address(request))
        if token is None:
            raise unauthorized(WRONG_TOKEN, f'{REALM}, error="invalid_token"')
        return principal_of(token)


def principal_of(token: ApiToken, csrf: str = "") -> Principal:
    """Who sends a request with a token, or with a session that was opened with it."""
    return Principal(token.name, token.role, csrf, token.grants)


ACCESS: Final = web.AppKey("access", Access)
