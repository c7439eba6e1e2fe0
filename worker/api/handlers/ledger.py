"""`GET /v1/credits`: what runs cost."""

from aiohttp import web

from worker.api.context import context_of
from worker.api.models.credits import credits_csv, credits_response
from worker.api.models.requests import CreditsFormat, CreditsQuery
from worker.api.models.response import json_response
from worker.api.parsing import read_query
from worker.api.problems import bad_parameter
from worker.app.enqueue import InvalidRequest


async def credit_report(request: web.Request) -> web.Response:
    """What runs cost: by day, account, target, tag or batch."""
    query = read_query(request, CreditsQuery)
    credit_sums = context_of(request).use_cases.credits
    try:
        report = await credit_sums.report(query.by, query.since, query.until)
    except InvalidRequest as error:
        raise bad_parameter(error.field, str(error)) from None
    if query.format is CreditsFormat.CSV:
        name = f"credits-{report.by}-{report.since}-{report.until}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(text=credits_csv(report), content_type="text/csv", headers=headers)
    return json_response(credits_response(report))
