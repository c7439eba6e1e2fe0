"""Budgets: the list, and the forms that set and remove them."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from jobs.budgets.record import BudgetPeriod
from jobs.budgets.state import BudgetState
from jobs.budgets.texts import limit_text
from worker.api.models.requests import BudgetBody
from worker.app.budgets import BudgetRequest
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import as_invalid_request
from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.budgets import budget_fields, budget_row

FIELDS: Final = ("name", "scope", "period", "limit", "time_zone")
EMPTY: Final = {**dict.fromkeys(FIELDS, ""), "period": BudgetPeriod.DAY, "time_zone": "UTC"}
PAGE: Final = "/budgets"


async def budgets_page(page_request: PageRequest) -> web.StreamResponse:
    """Render every budget; the form holds the one that `name` chooses, to change it."""
    return await _render(page_request, page_request.request.query.get("name", ""), None, {})


async def set_budget(page_request: PageRequest) -> web.StreamResponse:
    """Set a budget; with a wrong value, render the form as it was sent and say what to fix."""
    form = await page_request.form()
    given = {name: form.get(name, "").strip() for name in FIELDS}
    actor = await page_request.actor()
    try:
        shown = await page_request.context.use_cases.budgets.set(
            given["name"], _request(given), actor
        )
    except InvalidRequest as error:
        return await _render(page_request, "", given, {error.field: str(error)})
    status = shown.status
    text = f"Set {status.budget.name}: {limit_text(status)} for {status.budget.scope}"
    if shown.state is BudgetState.COUNTING:
        text += "; it admits jobs in some seconds, once a worker has counted what is in flight"
    return await page_request.redirect_back(text, path=PAGE)


async def remove_budget(page_request: PageRequest) -> web.StreamResponse:
    """Remove a budget."""
    name = page_request.request.match_info["name"]
    actor = await page_request.actor()
    removed = await page_request.context.use_cases.budgets.remove(name, actor)
    budget = removed.status.budget
    text = f"Removed {budget.name}: it limits {budget.scope or 'jobs'} no more"
    return await page_request.redirect_back(text, path=PAGE)


def _request(given: Mapping[str, str]) -> BudgetRequest:
    """The form as a request; raises `InvalidRequest`."""
    fields: dict[str, object] = {name: given[name] for name in FIELDS if name != "name"}
    try:
        fields["limit"] = float(given["limit"])
    except ValueError:
        fields["limit"] = None
    try:
        body = BudgetBody.model_validate(fields)
    except ValidationError as error:
        raise as_invalid_request(error, BudgetBody) from None
    return BudgetRequest(body.scope, body.period, body.limit, body.time_zone)


async def _render(
    page_request: PageRequest,
    chosen: str,
    given: Mapping[str, str] | None,
    errors: Mapping[str, str],
) -> web.StreamResponse:
    rows = [budget_row(one) for one in await page_request.context.use_cases.budgets.list_all()]
    found = [budget_fields(row.budget) for row in rows if row.budget.name == chosen]
    return await page_request.render(
        "budgets.html",
        422 if errors else 200,
        rows=rows,
        given=given or (found[0] if found else EMPTY),
        changes=found[0]["name"] if found else "",
        errors=errors,
        periods=tuple(BudgetPeriod),
    )
