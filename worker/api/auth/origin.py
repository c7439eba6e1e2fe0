"""Checks against requests that a foreign web page makes a browser send.

A browser adds its session cookie to every request, whichever page causes it. So an unsafe request
of a browser carries a CSRF token as well: in the header `X-CSRF-Token`, or in the field `csrf` of a
form. Without tokens in the settings only loopback host names are served, against DNS rebinding.
"""

import hmac
import ipaddress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from worker.api.auth.principal import Principal
from worker.api.edge.bodies import BodyKind
from worker.api.edge.client_address import is_from_trusted_proxy
from worker.api.edge.forms import read_form_fields
from worker.api.problems import Problem

CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf"

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


async def read_form(request: web.Request, kind: BodyKind = BodyKind.SMALL) -> dict[str, str]:
    """The fields of a form, the first of each name; raises `Problem`."""
    fields: dict[str, str] = {}
    for name, value in await read_form_fields(request, kind):
        fields.setdefault(name, value)
    return fields


async def require_csrf(
    request: web.Request, principal: Principal, form: BodyKind = BodyKind.SMALL
) -> None:
    """Raise `Problem` (403) for an unsafe request without the principal's CSRF token.

    `form`: what the form may hold that carries it.
    """
    if request.method in SAFE_METHODS:
        return
    if _is_sent_by_foreign_page(request):
        raise _foreign_origin()
    given = request.headers.get(CSRF_HEADER)
    if given is None:
        given = (await read_form(request, form)).get(CSRF_FIELD)
    sent = (given or "").encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(sent, principal.csrf.encode()):
        raise Problem(
            403,
            "csrf",
            "Not from our page",
            "the form's token is missing or belongs to another session: reload the page and try"
            f" again; a script sends the header {CSRF_HEADER}",
        )


def require_same_origin(request: web.Request) -> None:
    """Raise `Problem` (403) for a form of another site's page: for the login, without a session.

    A trusted proxy may have changed the header `Host`.
    """
    site = request.headers.get("Sec-Fetch-Site")
    is_same = is_from_trusted_proxy(request) or _has_origin(request, request.host)
    if (site is None and not is_same) or _is_sent_by_foreign_page(request):
        raise _foreign_origin()


def require_loopback(request: web.Request) -> None:
    """Raise `Problem` (403) for a request that a foreign web page can have caused."""
    host = request.headers.get("Host")
    if host is not None and not _is_loopback(host):
        raise Problem(
            403,
            "foreign-host",
            "Foreign host",
            "without KNOUDS_API_TOKENS only localhost and 127.0.0.1 are served: use that address,"
            " or set tokens",
        )
    if request.method in SAFE_METHODS:
        return
    if not _has_origin(request, host or "") or _is_sent_by_foreign_page(request):
        raise _foreign_origin()


def _is_sent_by_foreign_page(request: web.Request) -> bool:
    return request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")


def _has_origin(request: web.Request, host: str) -> bool:
    """Whether the header `Origin` names `host`, or is absent."""
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _foreign_origin() -> Problem:
    return Problem(
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
