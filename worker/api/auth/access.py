"""Who may do what: bearer tokens for programs, sessions for people, or this machine alone.

Without tokens everybody who reaches the port may do everything, so only loopback is served, and a
page in somebody's browser must not get there: neither by a request across origins nor by a host
name of its own that it points at 127.0.0.1 (DNS rebinding). The person is called `local` then.

A browser logs in once (`POST /login`) and has a session in a cookie. A cookie comes along by
itself, so whatever changes something has to carry the session's CSRF token besides: header
`X-CSRF-Token`, or field `csrf` of a form.

**For pages**, import from here alone:

- `@page(Role.WATCH)` around a handler: who is not logged in goes to `/login?next=…` (303), a role
  too small is a 403, a POST without the CSRF token, too. Host and origin are checked.
- `person_of(request)`: who asks: `name`, `role`, `csrf` (into every form, as field `csrf`),
  `sees_payloads`, `may_act`.
- `login_context(request)`: what the login page (`GET /login`, not behind `page`) needs; its form
  posts `token` and `next` to `/login`, and needs no CSRF token. That of a logout posts `csrf` to
  `/logout`.
- `read_form(request)`: the text fields of a form.
- `app[PROBLEM_PAGE] = ProblemPage(render)`: how problems of pages and of the login look in HTML. A
  failed login is the problem `login-failed` (401) or `slow-down` (429, `Retry-After`), and is best
  answered with the login page, its `detail` above the form. Without it they are JSON.
- Errors that handlers raise become problems by themselves: 404, 409, 422, 503 ….
"""

import hmac
import ipaddress
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Final
from urllib.parse import quote, urlsplit

from aiohttp import web

from config.settings import ApiToken, Role
from worker.api.auth.sessions import Session, Sessions, csrf_of
from worker.api.problems import PROBLEM_PAGE, Problem, ProblemPage, answer_as_page

__all__ = [
    "COOKIE",
    "LOCAL",
    "PROBLEM_PAGE",
    "Access",
    "LoginContext",
    "Principal",
    "ProblemPage",
    "Role",
    "client_of",
    "login_context",
    "page",
    "principal_name",
    "principal_of",
    "read_form",
]

LOCAL: Final = "local"
"""The person's name where no tokens are set."""

COOKIE: Final = "knouds_session"
CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf"
PARTIAL_HEADER: Final = "X-Partial"
"""Sent by a page's script that wants a piece of a page: it is told 401, not sent to the login."""

LOGIN: Final = "/login"

_REALM: Final = 'Bearer realm="knouds-worker"'
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]{0,2000}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    name: str
    role: Role
    csrf: str = field(default="", repr=False)
    """What unsafe requests of this person's browser carry; empty for a program with a token."""

    @property
    def sees_payloads(self) -> bool:
        """Whether inputs and results may be shown."""
        return self.role.sees_payloads

    @property
    def may_operate(self) -> bool:
        """Whether acts on jobs and holds may be done, and their buttons be shown."""
        return self.role.covers(Role.OPERATE)


@dataclass(frozen=True, slots=True)
class LoginContext:
    """What a login page needs."""

    needs_login: bool
    """Whether there is anything to log in to: without tokens everybody is `local`."""
    next: str
    """Where to go afterwards, a path of ours: a hidden field of the form."""
    principal: Principal | None
    """Who is logged in already."""


_PRINCIPAL: Final[ContextVar[Principal | None]] = ContextVar("person", default=None)
"""Who asks: each request is a task with a context of its own."""


class Access:
    """Checks requests against the tokens of the settings and the sessions made from them."""

    def __init__(
        self, tokens: Sequence[ApiToken], sessions: Sessions, *, proxied: bool = False
    ) -> None:
        self._tokens = [(token.secret.get_secret_value().encode(), token) for token in tokens]
        self.sessions = sessions
        self.proxied = proxied
        self._local_principal = Principal(LOCAL, Role.OPERATE, csrf_of(secrets.token_urlsafe()))

    def install(self, app: web.Application) -> None:
        """Let `page` and `login_context` find it."""
        app[_ACCESS] = self

    @property
    def needs_login(self) -> bool:
        """Whether tokens are set."""
        return bool(self._tokens)

    async def authorize(self, request: web.Request, role: Role | None) -> None:
        """Let a call of the API pass that may do what takes `role` (None: open to all), or raise.

        Without tokens programs and our own pages may call; with them a bearer token, or a session
        with its CSRF token, is needed.
        """
        if not self._tokens:
            _require_loopback(request)
            _PRINCIPAL.set(self._local_principal)
        elif role is not None:
            _PRINCIPAL.set(await self._authenticate(request, role))

    async def find_principal(self, request: web.Request) -> Principal | None:
        """Who looks at a page: `local`, who is logged in, or nobody."""
        found: Principal | None = self._local_principal
        if self._tokens:
            found = await self._session_principal(request)
        else:
            _require_loopback(request)
        _PRINCIPAL.set(found)
        return found

    def find_token(self, secret: str) -> ApiToken | None:
        """The token with this secret."""
        return self._find(secret.encode("utf-8", "surrogateescape"))

    async def _authenticate(self, request: web.Request, role: Role) -> Principal:
        if "Authorization" not in request.headers and COOKIE in request.cookies:
            found = await self._session_principal(request)
            if found is None:
                raise _unauthorized("the session has ended: log in again", _REALM)
            _require_role(found, role)
            await require_csrf(request, found)
            return found
        return self._bearer_principal(request, role)

    async def _session_principal(self, request: web.Request) -> Principal | None:
        session = await self._session(request)
        if session is None:
            return None
        return Principal(session.token.name, session.token.role, session.csrf)

    async def _session(self, request: web.Request) -> Session | None:
        secret = request.cookies.get(COOKIE)
        return await self.sessions.find(secret) if secret else None

    def _bearer_principal(self, request: web.Request, role: Role) -> Principal:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            detail = "send a token of KNOUDS_API_TOKENS as `Authorization: Bearer <secret>`"
            raise _unauthorized(detail, _REALM)
        token = self._find(given.strip().encode("utf-8", "surrogateescape"))
        if token is None:
            detail = "no token of KNOUDS_API_TOKENS has this secret"
            raise _unauthorized(detail, f'{_REALM}, error="invalid_token"')
        found = Principal(token.name, token.role)
        _require_role(found, role)
        return found

    def _find(self, given: bytes) -> ApiToken | None:
        """Compare with every token, always all of them, so that time tells nothing."""
        found = None
        for secret, token in self._tokens:
            if hmac.compare_digest(secret, given):
                found = token
        return found


_ACCESS: Final = web.AppKey("access", Access)


# Who asks.


def principal_name() -> str:
    """The name of who asks, for the record."""
    found = _PRINCIPAL.get()
    return found.name if found is not None else ""


def sees_payloads() -> bool:
    """Whether who asks may see inputs and results."""
    found = _PRINCIPAL.get()
    return found is not None and found.sees_payloads


def principal_of(request: web.Request) -> Principal:
    """Who asks, behind `page` or a role of the API."""
    del request
    found = _PRINCIPAL.get()
    if found is None:
        raise _unauthorized("log in first", _REALM)
    return found


# Pages.


def page(role: Role = Role.WATCH) -> Callable[[Handler], Handler]:
    """Guard the handler of a page: only for people who may do what takes `role`."""

    def guard(handler: Handler) -> Handler:
        @wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            answer_as_page()
            found = await request.app[_ACCESS].find_principal(request)
            if found is None:
                return _redirect_to_login(request)
            _require_role(found, role)
            await require_csrf(request, found)
            return await handler(request)

        return guarded

    return guard


async def login_context(request: web.Request) -> LoginContext:
    """What the login page needs; also after a login that failed."""
    access = request.app[_ACCESS]
    wanted = request.query.get("next", "")
    if request.method not in _SAFE_METHODS and request.content_type in _FORM_TYPES:
        wanted = (await read_form(request)).get("next", "")
    return LoginContext(
        access.needs_login, safe_redirect_path(wanted), await access.find_principal(request)
    )


def safe_redirect_path(requested: str) -> str:
    """A path of ours that somebody may be sent to; anything else is the front page."""
    return (
        requested if _LOCAL_PATH.fullmatch(requested) and not requested.startswith(LOGIN) else "/"
    )


def _redirect_to_login(request: web.Request) -> web.Response:
    if PARTIAL_HEADER in request.headers:
        raise _unauthorized("the session has ended: log in again", _REALM)
    after = request.raw_path if request.method in _SAFE_METHODS else "/"
    return web.Response(status=303, headers={"Location": f"{LOGIN}?next={quote(after, safe='/')}"})


async def read_form(request: web.Request) -> dict[str, str]:
    """The text fields of a form, the first of each name; raises `Problem`."""
    try:
        posted = await request.post()
    except ValueError:
        raise Problem(400, "malformed", "Malformed form", "the form cannot be read") from None
    fields: dict[str, str] = {}
    for name, value in posted.items():
        if isinstance(value, str):
            fields.setdefault(name, value)
    return fields


async def require_csrf(request: web.Request, principal: Principal) -> None:
    """Let an unsafe request of a browser pass only with the person's CSRF token."""
    if request.method in _SAFE_METHODS:
        return
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise _foreign_origin()
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.content_type in _FORM_TYPES:
        given = (await read_form(request)).get(CSRF_FIELD)
    sent = (given or "").encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(sent, principal.csrf.encode()):
        raise Problem(
            403,
            "csrf",
            "Not from our page",
            f"the form's token is missing or of another session: reload the page and try again; a"
            f" script sends the header {CSRF_HEADER}",
        )


def _require_role(principal: Principal, role: Role) -> None:
    if not principal.role.covers(role):
        raise Problem(
            403,
            "forbidden",
            "Forbidden",
            f"token {principal.name!r} has the role {principal.role}, this takes {role}",
            headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'},
        )


def _unauthorized(detail: str, challenge: str) -> Problem:
    headers = {"WWW-Authenticate": challenge}
    return Problem(401, "unauthorized", "Unauthorized", detail, headers=headers)


# This machine, and origins.


def client_of(request: web.Request, *, proxied: bool) -> str:
    """The address of who asks: behind a proxy, the one it says it saw."""
    told = request.headers.get("X-Forwarded-For", "") if proxied else ""
    return told.rpartition(",")[2].strip() or request.remote or "unknown"


def require_same_origin(request: web.Request, *, proxied: bool) -> None:
    """Refuse a form that another site's page sends (the login, which has no session yet)."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    ours = origin is None or urlsplit(origin).netloc.lower() == request.host.lower()
    if site in ("cross-site", "same-site") or (site is None and not proxied and not ours):
        raise _foreign_origin()


def _foreign_origin() -> Problem:
    return Problem(
        403,
        "foreign-origin",
        "Foreign origin",
        "a web page of another origin may not act here: set KNOUDS_API_TOKENS and send one",
    )


def _require_loopback(request: web.Request) -> None:
    """Refuse what a foreign web page could have sent."""
    host = request.headers.get("Host")
    if host is not None and not _is_loopback(host):
        raise Problem(
            403,
            "foreign-host",
            "Foreign host",
            "without KNOUDS_API_TOKENS only localhost and 127.0.0.1 are served: use that address,"
            " or set tokens",
        )
    if request.method in _SAFE_METHODS:
        return
    origin = request.headers.get("Origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != (host or "").lower()
    if foreign or request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise _foreign_origin()


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return (
            name == "localhost"
            or name.endswith(".localhost")
            or ipaddress.ip_address(name).is_loopback
        )
    except ValueError:
        return False
