"""`GET /v1/credits` and `/v1/credits.csv`: what runs cost."""

from aiohttp import web

from worker.api.context import context_of
from worker.api.models.credits import credits_csv, credits_response
from worker.api.models.requests import CreditsQuery
from worker.api.models.response import json_response
from worker.api.parsing import read_query
from worker.api.problems import bad_parameter
from worker.app.credits import CreditsReport
from worker.app.enqueue import InvalidRequest


async def credit_sums(request: web.Request) -> web.Response:
    """What runs cost: by day, account, target, tag or batch."""
    return json_response(credits_response(await _report(request)))


async def credit_sums_as_csv(request: web.Request) -> web.Response:
    """What runs cost, as CSV: a head line, then the rows; without the total."""
    report = await _report(request)
    name = f"credits-by-{report.by}-{report.since}-{report.until}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(text=credits_csv(report), content_type="text/csv", headers=headers)


async def _report(request: web.Request) -> CreditsReport:
    query = read_query(request, CreditsQuery)
    try:
        return await context_of(request).use_cases.credits.report(
            query.by, query.since, query.until
        )
    except InvalidRequest as error:
        raise bad_parameter(error.field, str(error)) from None
