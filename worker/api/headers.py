"""Security headers of every response."""

from typing import Final

from aiohttp import web

from worker.api.edge.client_address import is_https


def page_csp(media_sources: str) -> str:
    """The policy of pages: our script files only, media of results from these sources."""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:"
        f" {media_sources}; media-src {media_sources}; connect-src 'self'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    )


DATA_CSP: Final = "default-src 'none'; frame-ancestors 'none'"

HSTS_S: Final = 180 * 86_400
"""For how long a browser that came by TLS uses nothing else for this host, in seconds."""

_DEFAULT_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send our own forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Responses show the current state; static files set a header of their own.
    "Cache-Control": "no-store",
}


PAGE_CSP: Final = web.AppKey("page csp", str)
"""The policy of the pages of an application."""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that the handler did not set."""
    if is_https(request):
        response.headers.setdefault("Strict-Transport-Security", f"max-age={HSTS_S}")
    for name, value in _DEFAULT_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.pop("Server", None)  # it names the HTTP library and its version
    is_page = response.content_type == "text/html"
    policy = request.app[PAGE_CSP] if is_page else DATA_CSP
    response.headers.setdefault("Content-Security-Policy", policy)
