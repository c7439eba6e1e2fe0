"""The acts of people, newest first."""

from typing import Final

from aiohttp import web

from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.formatting import parse_time
from worker.store.audit import AuditFilter, AuditPage, BadAuditCursor

PAGE_SIZE: Final = 100
FILTER_FIELDS: Final = ("by", "act", "since", "until")


async def audit_page(page_request: PageRequest) -> web.StreamResponse:
    """Who did what, when, why, and to how many jobs."""
    query = page_request.request.query
    given = {name: text for name in FILTER_FIELDS if (text := query.get(name, "").strip())}
    faults: dict[str, str] = {}
    page = AuditPage((), None)
    try:
        wanted = AuditFilter(
            given.get("by"),
            given.get("act"),
            _parse_time_field(given, "since", page_request.now, faults),
            _parse_time_field(given, "until", page_request.now, faults),
        )
        if not faults:
            cursor = query.get("cursor") or None
            page = await page_request.context.store.audit.page(wanted, PAGE_SIZE, cursor)
    except BadAuditCursor as error:
        faults["cursor"] = str(error)
    return await page_request.render(
        "audit.html", 400 if faults else 200, page=page, given=given, errors=faults
    )


def _parse_time_field(
    given: dict[str, str], name: str, now: float, errors: dict[str, str]
) -> float | None:
    try:
        return parse_time(given[name], now) if name in given else None
    except ValueError as error:
        errors[name] = str(error)
        return None
