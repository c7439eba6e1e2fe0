"""What the page of credits shows: totals, bar charts by day, and tables that lead to jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never
from urllib.parse import urlencode

from jobs.credits.charges import OTHER
from jobs.credits.report import CreditsBy, CreditsRow, days_between
from worker.app.credits import CreditsReport
from worker.dashboard.views.bar_charts import BarChart, BarChartTexts, BarSeries, draw_bars
from worker.dashboard.views.formatting import number

ROWS_SHOWN: Final = 20
"""Rows of a table, those with the most credits."""

_TABLES: Final = (
    (CreditsBy.TARGET, "Top targets", "Target"),
    (CreditsBy.ACCOUNT, "Accounts", "Account"),
    (CreditsBy.TAG, "Tags", "Tag"),
    (CreditsBy.BATCH, "Batches", "Batch"),
)
PAGE_REPORTS: Final = (CreditsBy.DAY, *(by for by, _, _ in _TABLES))
"""The reports that the page needs."""


@dataclass(frozen=True, slots=True)
class CreditsTotal:
    """One total with what it means."""

    name: str
    value: str
    text: str


@dataclass(frozen=True, slots=True)
class CreditsTableRow:
    """A row with the list of its jobs."""

    row: CreditsRow
    href: str
    """Empty for the sum of names that have no sum of their own."""
    share: float
    """Of all credits of the period, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class CreditsTable:
    """The rows of one kind, those with the most credits."""

    by: CreditsBy
    title: str
    column: str
    rows: tuple[CreditsTableRow, ...]
    more: int
    """Rows that are not shown."""
    csv_href: str


def credits_totals(total: CreditsRow) -> tuple[CreditsTotal, ...]:
    """The totals of a period."""

    def part(amount: float) -> str:
        share = f" ({100 * amount / total.credits:.0f} %)" if amount and total.credits else ""
        return number(amount) + share

    return (
        CreditsTotal(
            "Credits",
            number(total.credits),
            "What the attempts cost that ended on these days, estimates included.",
        ),
        CreditsTotal(
            "Charges", number(total.charges), "Attempts that cost something, or may have."
        ),
        CreditsTotal(
            "Estimated",
            part(total.estimated),
            "The part that is an estimate: the provider has not named the cost yet.",
        ),
        CreditsTotal(
            "Unknown cost",
            number(total.unknown),
            "Charges whose cost is unknown and has no estimate. They add no credits.",
        ),
        CreditsTotal(
            "Retries",
            part(total.retries),
            "The part of attempts that another attempt of the same job followed.",
        ),
        CreditsTotal(
            "Dead letters",
            part(total.dead),
            "The part of jobs that are dead letters, or were discarded.",
        ),
    )


def credits_charts(report: CreditsReport) -> tuple[BarChart, ...]:
    """The credits of each day, and those of its retries and dead letters."""
    days = days_between(report.since, report.until)
    found = {row.key: row for row in report.rows}
    rows = [found.get(day, CreditsRow(day)) for day in days]
    known = tuple(max(0.0, row.credits - row.estimated) for row in rows)
    estimated = tuple(row.estimated for row in rows)
    retries, dead = tuple(row.retries for row in rows), tuple(row.dead for row in rows)
    return (
        draw_bars(
            BarChartTexts("credits-days", "Credits by day", "credits", "Day"),
            days,
            (BarSeries("named", "line-a", known), BarSeries("estimated", "line-e", estimated)),
            is_stacked=True,
        ),
        draw_bars(
            BarChartTexts(
                "credits-lost", "Retries and dead letters by day", "credits, may overlap", "Day"
            ),
            days,
            (BarSeries("retries", "line-f", retries), BarSeries("dead letters", "line-c", dead)),
            is_stacked=False,
        ),
    )


def credits_tables(reports: Sequence[CreditsReport]) -> tuple[CreditsTable, ...]:
    """The tables of a page, of those reports that have rows."""
    found = {report.by: report for report in reports}
    return tuple(
        _table(found[by], title, column) for by, title, column in _TABLES if found[by].rows
    )


def csv_href(report: CreditsReport) -> str:
    """The same rows as CSV."""
    query = {"by": report.by, "since": report.since, "until": report.until}
    return f"/v1/credits.csv?{urlencode(query)}"


def _table(report: CreditsReport, title: str, column: str) -> CreditsTable:
    spent = report.total.credits
    return CreditsTable(
        by=report.by,
        title=title,
        column=column,
        rows=tuple(
            CreditsTableRow(
                row, _jobs_href(report.by, row.key), min(1.0, row.credits / spent) if spent else 0.0
            )
            for row in report.rows[:ROWS_SHOWN]
        ),
        more=max(0, len(report.rows) + report.more - ROWS_SHOWN),
        csv_href=csv_href(report),
    )


def _jobs_href(by: CreditsBy, key: str) -> str:
    """The list of the jobs of a row; empty for the sum of further names."""
    kind, _, target = key.partition("/")
    if OTHER in (key, target) and by is not CreditsBy.ACCOUNT:
        return ""
    match by:
        case CreditsBy.ACCOUNT | CreditsBy.TAG | CreditsBy.BATCH:
            fields = {by.value: key}
        case CreditsBy.TARGET:
            fields = {"kind": kind, "target": target}
        case CreditsBy.DAY:
            return ""
        case _:
            assert_never(by)
    return f"/jobs?{urlencode(fields)}"
