"""Single sign-on: a trusted proxy authenticates the user, and names user and groups in headers.

The headers of anyone else are ignored. Unsafe requests carry a CSRF token all the same: a browser
sends the proxy's cookie whichever page causes the request. It is derived from a cookie of ours.
"""

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from aiohttp import web

from config.sign_on import groups_header
from config.values import Role
from worker.api.auth.principal import Principal
from worker.api.auth.sessions import SECRET_BYTES, csrf_of
from worker.api.edge.client_address import is_from_trusted_proxy, is_https
from worker.api.prefix import PREFIX
from worker.api.problems import Problem

CSRF_COOKIE: Final = "knouds_csrf"
_NEW_SECRET: Final[ContextVar[str]] = ContextVar("new csrf secret", default="")
"""Of the request that this task serves, if its browser has no cookie yet."""
_USER: Final = re.compile(r"[\x21-\x7e]{1,64}")


class SignOn:
    """Who a trusted proxy says that a request is from.

    `header`: the header with the user; None: there is no such proxy.
    """

    def __init__(self, header: str | None, groups: Mapping[str, Role]) -> None:
        self._header = header
        self._groups_header = groups_header(header) if header else ""
        self._groups = groups

    @property
    def is_on(self) -> bool:
        """Whether a proxy authenticates users."""
        return self._header is not None

    def find(self, request: web.Request) -> Principal | None:
        """The user of a request, or None; raises `Problem` (403) for one without a role."""
        if self._header is None or not is_from_trusted_proxy(request):
            return None
        users = request.headers.getall(self._header, [])
        if not users:
            return None
        if len(users) > 1 or not _USER.fullmatch(users[0]):
            detail = f"{self._header} must name one user, in 1 to 64 printable ASCII characters"
            raise Problem(403, "forbidden", "Forbidden", detail)
        role = self._role(request)
        if role is None:
            detail = (
                f"user {users[0]!r} is in no group of KNOUDS_AUTH_GROUPS: ask for one of them, or"
                f" let the proxy send the groups in {self._groups_header}"
            )
            raise Problem(403, "forbidden", "Forbidden", detail)
        return Principal(users[0], role, csrf_of(self._csrf_secret(request)))

    def _role(self, request: web.Request) -> Role | None:
        """The largest role of the user's groups."""
        lines = request.headers.getall(self._groups_header, [])
        names = {name.strip() for line in lines for name in line.split(",")}
        roles = [role for group, role in self._groups.items() if group in names]
        return max(roles, key=tuple(Role).index, default=None)

    def _csrf_secret(self, request: web.Request) -> str:
        """The secret in the browser's cookie, or a new one for it."""
        if secret := request.cookies.get(_cookie_name(request)):
            return secret
        secret = secrets.token_urlsafe(SECRET_BYTES)
        _NEW_SECRET.set(secret)
        return secret


def set_csrf_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Give the browser of a user who signed on the cookie of its CSRF tokens, if it has none."""
    if secret := _NEW_SECRET.get():
        response.set_cookie(
            _cookie_name(request),
            secret,
            httponly=True,
            samesite="Strict",
            path="/",
            secure=is_https(request),
        )


def _cookie_name(request: web.Request) -> str:
    if not is_https(request):
        return CSRF_COOKIE
    return f"{'__Secure-' if request.app[PREFIX] else '__Host-'}{CSRF_COOKIE}"
