"""Credits: what runs cost in a period, by day, target, account, tag and batch."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from jobs.credits.report import CreditsBy
from worker.api.models.query_parameters import CreditsQuery
from worker.app.credits import DEFAULT_DAYS, CreditsReport
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import as_invalid_request
from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.credits import (
    PAGE_REPORTS,
    credits_charts,
    credits_tables,
    credits_totals,
    csv_href,
)

PERIODS: Final = (7, DEFAULT_DAYS, 90, 365)
"""Days up to today that a link selects."""
FIELDS: Final = ("days", "since", "until")


async def credits_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the ledger of some days: `days` up to today, or `since` and `until`."""
    query = page_request.request.query
    given = {name: text for name in FIELDS if (text := query.get(name, "").strip())}
    errors: dict[str, str] = {}
    reports = await _reports(page_request, given, errors)
    by_day = reports.get(CreditsBy.DAY)
    return await page_request.render(
        "credits.html",
        400 if errors else 200,
        given=given,
        errors=errors,
        periods=PERIODS,
        days=given.get("days", "" if given else str(DEFAULT_DAYS)),
        report=by_day,
        totals=credits_totals(by_day.total) if by_day else (),
        charts=credits_charts(by_day) if by_day else (),
        tables=credits_tables(list(reports.values())) if by_day else (),
        csv_href=csv_href(by_day) if by_day else "",
    )


async def _reports(
    page_request: PageRequest, given: Mapping[str, str], errors: dict[str, str]
) -> dict[CreditsBy, CreditsReport]:
    """The reports of the period; empty where `errors` names what is wrong with it."""
    since = _first_of_days(given, page_request.now, errors)
    since = _day(given, "since", errors) or since
    until = _day(given, "until", errors)
    if errors:
        return {}
    try:
        return await page_request.context.use_cases.credits.reports(PAGE_REPORTS, since, until)
    except InvalidRequest as error:
        errors[error.field] = str(error)
        return {}


def _first_of_days(given: Mapping[str, str], now: float, errors: dict[str, str]) -> date | None:
    if "days" not in given:
        return None
    if len(given) > 1:
        errors["days"] = "give days alone, or since and until"
    elif given["days"] in map(str, PERIODS):
        return datetime.fromtimestamp(now, UTC).date() - timedelta(days=int(given["days"]) - 1)
    else:
        errors["days"] = f"must be one of {', '.join(map(str, PERIODS))}"
    return None


def _day(given: Mapping[str, str], name: str, errors: dict[str, str]) -> date | None:
    if name not in given:
        return None
    try:
        found: date | None = getattr(CreditsQuery.model_validate({name: given[name]}), name)
    except ValidationError as error:
        errors[name] = str(as_invalid_request(error, CreditsQuery))
        return None
    return found
