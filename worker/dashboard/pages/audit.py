"""The audit log, newest first."""

from typing import Final

from aiohttp import web

from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.formatting import parse_time
from worker.store.audit import AuditFilter, AuditPage
from worker.store.client import BadCursor

PAGE_SIZE: Final = 100
FILTER_FIELDS: Final = ("by", "act", "since", "until")


async def audit_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the entries that match the filter of the query."""
    query = page_request.request.query
    given = {name: text for name in FILTER_FIELDS if (text := query.get(name, "").strip())}
    errors: dict[str, str] = {}
    page = AuditPage((), None)
    try:
        audit_filter = AuditFilter(
            given.get("by"),
            given.get("act"),
            _parse_time_field(given, "since", page_request.now, errors),
            _parse_time_field(given, "until", page_request.now, errors),
        )
        if not errors:
            cursor = query.get("cursor") or None
            page = await page_request.context.store.audit.page(audit_filter, PAGE_SIZE, cursor)
    except BadCursor as error:
        errors["cursor"] = str(error)
    return await page_request.render(
        "audit.html", 400 if errors else 200, page=page, given=given, errors=errors
    )


def _parse_time_field(
    given: dict[str, str], name: str, now: float, errors: dict[str, str]
) -> float | None:
    try:
        return parse_time(given[name], now) if name in given else None
    except ValueError as error:
        errors[name] = str(error)
        return None
