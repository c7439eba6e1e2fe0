"""The response that shows what runs cost."""

import csv
import io
import math
from typing import Annotated, Final

from msgspec import Meta

from jobs.budgets.record import BudgetPeriod
from jobs.budgets.room import credits_of
from jobs.credits.forecast import AccountForecast
from jobs.credits.report import CreditsBy, CreditsRow
from worker.api.models.response import ResponseModel, Time, rfc3339
from worker.app.budget_forecasts import BudgetForecast
from worker.app.credits import CreditsReport


class CreditsRowResponse(ResponseModel):
    """What one day, account, target, tag or batch cost."""

    key: Annotated[str, Meta(description="a day (UTC), account, `kind/target`, tag or batch")]
    credits: Annotated[float, Meta(description="credits, estimates included")]
    charges: Annotated[int, Meta(description="attempts that cost something, or may have")]
    estimated: Annotated[
        float,
        Meta(description="the part of `credits` whose cost the provider has not named yet"),
    ]
    usage: Annotated[
        float, Meta(description="the part of `credits` that the provider's list of runs named")
    ]
    retries: Annotated[
        float, Meta(description="the part of attempts that another attempt of the job followed")
    ]
    dead: Annotated[
        float, Meta(description="the part of jobs that are dead letters, or were discarded")
    ]
    unknown: Annotated[int, Meta(description="charges whose cost is unknown and has no estimate")]


class CreditsResponse(ResponseModel):
    """What runs cost between two days, both included."""

    by: CreditsBy
    since: Annotated[str, Meta(extra_json_schema={"format": "date"})]
    until: Annotated[str, Meta(extra_json_schema={"format": "date"})]
    items: Annotated[
        list[CreditsRowResponse],
        Meta(description="days in their order, other rows by credits; tags overlap"),
    ]
    total: Annotated[CreditsRowResponse, Meta(description="of all charges of these days")]
    more: Annotated[
        int, Meta(description="further rows, with fewer credits: ask for fewer days to see them")
    ]


class BalanceResponse(ResponseModel):
    """The credits of an account as a person entered them."""

    credits: float
    entered_at: Time
    by: str


class ForecastResponse(ResponseModel):
    """What is ahead of one account. Amounts are credits, and estimates."""

    account: str
    waiting_jobs: Annotated[int, Meta(description="queued jobs")]
    waiting_cost: Annotated[
        float | None, Meta(description="what these are likely to cost; null where it is unknown")
    ]
    per_hour: Annotated[float, Meta(description="credits that became known in the last hour")]
    balance: BalanceResponse | None
    left: Annotated[float | None, Meta(description="what is left of the balance")]
    dry_at: Annotated[
        Time | None, Meta(description="when nothing is left at this pace; null where unknown")
    ]
    covers_waiting: Annotated[
        bool | None, Meta(description="whether what is left is enough for the queued jobs")
    ]


class BudgetForecastResponse(ResponseModel):
    """What is ahead of one budget. Amounts are credits, and estimates."""

    name: str
    scope: str
    period: BudgetPeriod
    limit: float
    spent: float
    reserved: float
    resets_at: Annotated[
        Time | None, Meta(description="when its next period begins; null for a total")
    ]
    per_hour: Annotated[
        float | None,
        Meta(
            description="credits an hour that it spent in the last hour, or since its period began;"
            " null in the first minute, and where no worker has noted it"
        ),
    ]
    reached_at: Annotated[
        Time | None,
        Meta(
            description="when its limit is spent at this pace; null where that is unknown, or its"
            " next period begins before"
        ),
    ]
    waiting_jobs: Annotated[
        int,
        Meta(description="queued jobs of its scope; of a tag or batch those that wait for it"),
    ]
    waiting_cost: Annotated[
        float | None, Meta(description="what these are likely to cost; null where it is unknown")
    ]
    covers_waiting: Annotated[
        bool | None, Meta(description="whether what is left is enough for these jobs")
    ]


class ForecastPageResponse(ResponseModel):
    """What is ahead of each account, and of each budget that can be read."""

    items: list[ForecastResponse]
    next_cursor: None
    budgets: list[BudgetForecastResponse]


def forecast_response(found: AccountForecast, now: float) -> ForecastResponse:
    """The forecast of one account as JSON."""
    balance = found.balance
    return ForecastResponse(
        account=found.account,
        waiting_jobs=found.waiting_jobs,
        waiting_cost=found.waiting_cost,
        per_hour=found.per_hour,
        balance=None
        if balance is None
        else BalanceResponse(balance.credits, rfc3339(balance.entered_at), balance.by),
        left=found.left,
        dry_at=None if found.dry_in_s is None else rfc3339(now + found.dry_in_s),
        covers_waiting=found.covers_waiting,
    )


def budget_forecast_response(found: BudgetForecast, now: float) -> BudgetForecastResponse:
    """The forecast of one budget as JSON."""
    budget, window, use = found.status.budget, found.status.window, found.status.use
    return BudgetForecastResponse(
        name=budget.name,
        scope=budget.scope,
        period=budget.period,
        limit=budget.limit,
        spent=credits_of(use.spent),
        reserved=credits_of(use.reserved),
        resets_at=rfc3339(window.end) if math.isfinite(window.end) else None,
        per_hour=found.per_hour,
        reached_at=None if found.reached_in_s is None else rfc3339(now + found.reached_in_s),
        waiting_jobs=found.waiting_jobs,
        waiting_cost=found.waiting_cost,
        covers_waiting=found.covers_waiting,
    )


def credits_response(report: CreditsReport) -> CreditsResponse:
    """A report as JSON."""
    return CreditsResponse(
        by=report.by,
        since=report.since.isoformat(),
        until=report.until.isoformat(),
        items=[_row(row) for row in report.rows],
        total=_row(report.total),
        more=report.more,
    )


FIRST_OF_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet takes for a formula."""


def credits_csv(report: CreditsReport) -> str:
    """The rows of a report as CSV, with a head line; without the total."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((report.by.value, *CreditsRow._fields[1:]))
    for row in report.rows:
        key = f"'{row.key}" if row.key.startswith(FIRST_OF_FORMULA) else row.key
        writer.writerow((key, *row[1:]))
    return text.getvalue()


def _row(row: CreditsRow) -> CreditsRowResponse:
    return CreditsRowResponse(**row._asdict())
