"""Who may do what: bearer tokens, or this machine alone.

Without tokens everybody who reaches the port may do everything, so only loopback is served, and a
page in somebody's browser must not get there: neither by a request across origins nor by a host
name of its own that it points at 127.0.0.1 (DNS rebinding).
"""

import hmac
import ipaddress
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from config.settings import ApiToken, Role
from worker.web.problems import Problem

LOCAL: Final = "local"
"""The person's name where no tokens are set."""

_PERSON: Final[ContextVar[str]] = ContextVar("person", default="")
"""Who asks. Set by every request, since requests of one connection share a context."""

_REALM: Final = 'Bearer realm="knouds-worker"'
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Access:
    """Checks requests against the tokens of the settings."""

    def __init__(self, tokens: Sequence[ApiToken]) -> None:
        self._tokens = [(token.secret.get_secret_value().encode(), token) for token in tokens]

    def require(self, request: web.Request, role: Role | None) -> None:
        """Let a request pass that may do what takes `role` (None: open to all), or raise."""
        person = ""
        if not self._tokens:
            _only_local(request)
            person = LOCAL
        elif role is not None:
            person = self._bearer(request, role).name
        _PERSON.set(person)

    def _bearer(self, request: web.Request, role: Role) -> ApiToken:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            detail = "send a token of KNOUDS_API_TOKENS as `Authorization: Bearer <secret>`"
            raise _unauthorized(detail, _REALM)
        token = self._find(given.strip().encode("utf-8", "surrogateescape"))
        if token is None:
            detail = "no token of KNOUDS_API_TOKENS has this secret"
            raise _unauthorized(detail, f'{_REALM}, error="invalid_token"')
        if not token.role.covers(role):
            raise Problem(
                403,
                "forbidden",
                "Forbidden",
                f"token {token.name!r} has the role {token.role}, this takes {role}",
                headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'},
            )
        return token

    def _find(self, given: bytes) -> ApiToken | None:
        """Compare with every token, always all of them, so that time tells nothing."""
        found = None
        for secret, token in self._tokens:
            if hmac.compare_digest(secret, given):
                found = token
        return found


def person() -> str:
    """The name of who asks, for the record."""
    return _PERSON.get()


def _unauthorized(detail: str, challenge: str) -> Problem:
    headers = {"WWW-Authenticate": challenge}
    return Problem(401, "unauthorized", "Unauthorized", detail, headers=headers)


def _only_local(request: web.Request) -> None:
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
        raise Problem(
            403,
            "foreign-origin",
            "Foreign origin",
            "a web page of another origin may not act here: set KNOUDS_API_TOKENS and send one",
        )


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
