"""The acts of people, newest first."""

from typing import Final

from aiohttp import web

from worker.dashboard.page_request import Visit
from worker.dashboard.views.formatting import read_moment
from worker.store.audit import AuditPage, BadAuditCursor, Wanted

SHOWN: Final = 100
FIELDS: Final = ("by", "act", "since", "until")


async def audit_page(visit: Visit) -> web.StreamResponse:
    """Who did what, when, why, and to how many jobs."""
    query = visit.request.query
    given = {name: text for name in FIELDS if (text := query.get(name, "").strip())}
    faults: dict[str, str] = {}
    page = AuditPage((), None)
    try:
        wanted = Wanted(
            given.get("by"),
            given.get("act"),
            _moment(given, "since", visit.now, faults),
            _moment(given, "until", visit.now, faults),
        )
        if not faults:
            cursor = query.get("cursor") or None
            page = await visit.office.store.audit.page(wanted, SHOWN, cursor)
    except BadAuditCursor as error:
        faults["cursor"] = str(error)
    return await visit.answer(
        "audit.html", 400 if faults else 200, page=page, given=given, faults=faults
    )


def _moment(given: dict[str, str], name: str, now: float, faults: dict[str, str]) -> float | None:
    try:
        return read_moment(given[name], now) if name in given else None
    except ValueError as error:
        faults[name] = str(error)
        return None
