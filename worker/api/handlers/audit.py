"""`GET /v1/audit`: what people did."""

from aiohttp import web

from worker.api.context import office_of
from worker.api.models.requests import AuditQuery
from worker.api.models.views import View, json_response, moment, page_view
from worker.api.parsing import read_query
from worker.store.audit import Line, Wanted


async def audit(request: web.Request) -> web.Response:
    """Acts of people, newest first."""
    query = read_query(request, AuditQuery)
    wanted = Wanted(query.by, query.act, query.since, query.until)
    page = await office_of(request).store.audit.page(wanted, query.limit, query.cursor)
    return json_response(page_view([line_view(line) for line in page.lines], page.next_cursor))


def line_view(line: Line) -> View:
    """One act."""
    return {
        "id": line.id,
        "at": moment(line.at),
        "by": line.by,
        "act": line.act,
        "on": line.on,
        "note": line.note,
        "jobs": line.jobs,
    }
