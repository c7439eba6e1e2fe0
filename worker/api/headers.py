"""What every answer says to the browser that shows it, in one place."""

from typing import Final

from aiohttp import web

PAGE_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' http: https: data:;"
    " media-src http: https:; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
"""Pages run our script files and nothing else; results' pictures and sounds come from anywhere."""

DATA_CSP: Final = "default-src 'none'; frame-ancestors 'none'"

_DEFAULT_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send our own forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Answers are data of the moment; static files say otherwise themselves.
    "Cache-Control": "no-store",
}


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add what the handler left unsaid."""
    del request
    for name, value in _DEFAULT_HEADERS.items():
        response.headers.setdefault(name, value)
    is_page = response.content_type == "text/html"
    response.headers.setdefault("Content-Security-Policy", PAGE_CSP if is_page else DATA_CSP)
