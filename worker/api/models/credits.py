"""The response that shows what runs cost."""

import csv
import io
from typing import Annotated, Final

from msgspec import Meta

from jobs.credits.report import CreditsBy, CreditsRow
from worker.api.models.response import ResponseModel
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


def credits_response(report: CreditsReport) -> CreditsResponse:
    """A report as JSON."""
    return CreditsResponse(
        by=report.by,
        since=report.since.isoformat(),
        until=report.until.isoformat(),
        items=[_row(row) for row in report.rows],
        total=_row(report.total),
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
