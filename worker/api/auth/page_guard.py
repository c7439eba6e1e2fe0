"""The guard around the handlers of pages, and what the login page needs.

`@page(Role.WATCH)` around a handler: a browser without a session is redirected to `/login?next=…`
(303), a role that is too small or a POST without the CSRF token is a 403, and host and origin are
checked. Every form carries `Principal.csrf` in its field `csrf`; that of the login posts `token`
and `next` to `/login` and needs no CSRF token. Errors of handlers become problems, rendered as a
page (`ProblemPage`). A failed login is the problem `login-failed` (401) or `slow-down` (429,
`Retry-After`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Final
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from config.values import Role
from worker.api.auth.access import ACCESS
from worker.api.auth.origin import SAFE_METHODS, read_form, require_csrf
from worker.api.auth.principal import Principal, Visibility, require_access, unauthorized
from worker.api.auth.sign_on import set_csrf_cookie
from worker.api.edge.bodies import BodyKind
from worker.api.edge.responses import expect_response
from worker.api.prefix import own_path
from worker.api.problems import answer_as_page

PARTIAL_HEADER: Final = "X-Partial"
"""Sent by a page's script that wants a part of a page: it gets a 401, not a redirect."""

LOGIN: Final = "/login"

_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]{0,2000}")


@dataclass(frozen=True, slots=True)
class LoginContext:
    """What a login page needs."""

    needs_login: bool
    """False without tokens: everyone is `local`."""
    next: str
    """Where to go afterwards, a path of ours: a hidden field of the form."""
    principal: Principal | None
    """Who is logged in already."""


def page(role: Role = Role.WATCH, form: BodyKind = BodyKind.SMALL) -> Callable[[Handler], Handler]:
    """Guard the handler of a page: only for operators whose role covers `role`.

    `form`: what the form may hold that is posted to it.
    """

    def guard(handler: Handler) -> Handler:
        @wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            answer_as_page()
            principal = await request.app[ACCESS].find_principal(request)
            if principal is None:
                return _redirect_to_login(request)
            require_access(principal, role, Visibility.SYSTEM)
            await require_csrf(request, principal, form)
            await expect_response(request)
            response = await handler(request)
            set_csrf_cookie(request, response)
            return response

        return guarded

    return guard


async def login_context(request: web.Request) -> LoginContext:
    """What the login page needs; also after a login that failed."""
    access = request.app[ACCESS]
    requested = request.query.get("next", "")
    if request.method not in SAFE_METHODS:
        requested = (await read_form(request, BodyKind.LOGIN)).get("next", "")
    return LoginContext(
        access.needs_login, safe_redirect_path(requested), await access.find_principal(request)
    )


def safe_redirect_path(requested: str) -> str:
    """`requested` where it is a path of ours to redirect to, else `/`."""
    is_ours = _LOCAL_PATH.fullmatch(requested) and not requested.startswith(LOGIN)
    return requested if is_ours else "/"


def _redirect_to_login(request: web.Request) -> web.Response:
    if PARTIAL_HEADER in request.headers:
        raise unauthorized("the session has ended: log in again")
    after = own_path(request) if request.method in SAFE_METHODS else "/"
    return web.Response(status=303, headers={"Location": f"{LOGIN}?next={quote(after, safe='/')}"})
