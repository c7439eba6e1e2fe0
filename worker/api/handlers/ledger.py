"""What runs cost, what queued jobs will cost, and the balance that a person enters."""

from aiohttp import web

from worker.api.context import context_of, current_actor
from worker.api.models.credits import (
    ForecastPageResponse,
    budget_forecast_response,
    credits_csv,
    credits_response,
    forecast_response,
)
from worker.api.models.query_parameters import CreditsQuery
from worker.api.models.requests import BalanceBody
from worker.api.models.response import json_response
from worker.api.parsing import read_body, read_query
from worker.api.problems import bad_parameter
from worker.app.credits import CreditsReport
from worker.app.enqueue import InvalidRequest


async def get_credits(request: web.Request) -> web.Response:
    """What runs cost: by day, account, target, tag or batch."""
    return json_response(credits_response(await _report(request)))


async def export_credits(request: web.Request) -> web.Response:
    """What runs cost, as CSV: a head line, then the rows; without the total."""
    report = await _report(request)
    name = f"credits-by-{report.by}-{report.since}-{report.until}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(text=credits_csv(report), content_type="text/csv", headers=headers)


async def forecast_credits(request: web.Request) -> web.Response:
    """What queued jobs will cost, and when an account or a budget is used up at this pace."""
    context = context_of(request)
    forecasts, now = context.use_cases.forecasts, context.clock.now()
    items = [forecast_response(one, now) for one in await forecasts.forecasts()]
    budgets = [budget_forecast_response(one, now) for one in await forecasts.of_budgets()]
    return json_response(ForecastPageResponse(items=items, next_cursor=None, budgets=budgets))


async def set_balance(request: web.Request) -> web.Response:
    """Enter what the provider's billing page shows; the ledger carries it on from now."""
    context = context_of(request)
    body = await read_body(request, BalanceBody)
    actor = current_actor(body.note)
    found = await context.use_cases.forecasts.set_balance(body.account, body.credits, actor)
    return json_response(forecast_response(found, context.clock.now()))


async def _report(request: web.Request) -> CreditsReport:
    query = read_query(request, CreditsQuery)
    try:
        return await context_of(request).use_cases.credits.report(
            query.by, query.since, query.until
        )
    except InvalidRequest as error:
        raise bad_parameter(error.field, str(error)) from None
