"""`GET /v1/audit`: what people did."""

from aiohttp import web

from worker.api.context import context_of
from worker.api.models.requests import AuditQuery
from worker.api.models.views import View, json_response, page_view, rfc3339
from worker.api.parsing import read_query
from worker.store.audit import AuditEntry, AuditFilter


async def audit(request: web.Request) -> web.Response:
    """Acts of people, newest first."""
    query = read_query(request, AuditQuery)
    wanted = AuditFilter(query.by, query.act, query.since, query.until)
    page = await context_of(request).store.audit.page(wanted, query.limit, query.cursor)
    return json_response(page_view([entry_view(line) for line in page.entries], page.next_cursor))


def entry_view(entry: AuditEntry) -> View:
    """One act."""
    return {
        "id": entry.id,
        "at": rfc3339(entry.at),
        "by": entry.by,
        "act": entry.action,
        "on": entry.on,
        "note": entry.note,
        "jobs": entry.jobs,
    }
