"""Budgets over HTTP: list, set and remove them."""

from aiohttp import web

from worker.api.context import context_of, current_actor
from worker.api.models.budgets import BudgetPageResponse, budget_response
from worker.api.models.requests import ActionBody, BudgetBody
from worker.api.models.response import json_response
from worker.api.parsing import read_body
from worker.app.budgets import BudgetRequest


async def list_budgets(request: web.Request) -> web.Response:
    """Every budget, with what is used of it."""
    found = await context_of(request).use_cases.budgets.list_all()
    items = [budget_response(one) for one in found]
    return json_response(BudgetPageResponse(items=items, next_cursor=None))


async def get_budget(request: web.Request) -> web.Response:
    """A budget, with what is used of it."""
    use_case = context_of(request).use_cases.budgets
    return json_response(budget_response(await use_case.find(request.match_info["name"])))


async def set_budget(request: web.Request) -> web.Response:
    """Set a budget: what its scope may cost in a period.

    What is spent counts on where only the limit or the note changes. With another scope, period or
    time zone it starts with what is in flight.
    """
    body = await read_body(request, BudgetBody)
    wanted = BudgetRequest(body.scope, body.period, body.limit, body.time_zone)
    found = await context_of(request).use_cases.budgets.set(
        request.match_info["name"], wanted, current_actor(body.note)
    )
    return json_response(budget_response(found))


async def remove_budget(request: web.Request) -> web.Response:
    """Remove a budget; it is returned as it was, and the jobs that wait for it go on."""
    body = await read_body(request, ActionBody)
    removed = await context_of(request).use_cases.budgets.remove(
        request.match_info["name"], current_actor(body.note)
    )
    return json_response(budget_response(removed))
