"""`GET /v1/audit`: what operators did."""

from aiohttp import web

from worker.api.context import context_of
from worker.api.models.audit import AuditPageResponse, audit_entry_response
from worker.api.models.query_parameters import AuditQuery
from worker.api.models.response import json_response
from worker.api.parsing import read_query
from worker.store.audit import AuditFilter


async def list_audit_entries(request: web.Request) -> web.Response:
    """Actions of operators, newest first."""
    query = read_query(request, AuditQuery)
    audit_filter = AuditFilter(query.by, query.act, query.since, query.until)
    page = await context_of(request).store.audit.page(audit_filter, query.limit, query.cursor)
    items = [audit_entry_response(entry) for entry in page.entries]
    return json_response(AuditPageResponse(items=items, next_cursor=page.next_cursor))
