"""The query parameters of the API's lists and reads.

Each description completes "must be …" in the error for a wrong value.
"""

from datetime import date
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jobs.credits.report import CreditsBy
from jobs.evidence.records import EvidenceFinding
from jobs.states import Kind, State
from jobs.tenants import STORED_JOB_ID
from worker.api.models.requests import TIME_FORMAT, StoredBatch, StoredFairKey, TenantName
from worker.app.job_request_parser import TAG_CHAR, AccountLabel, Rfc3339Time, Target, matching
from worker.store.metrics.series import SeriesWindow

MAX_PAGE_SIZE: Final = 500
MAX_WAIT_S: Final = 120.0

ENTRY_ID_PATTERN: Final = r"[0-9]{1,19}(-[0-9]{1,19})?"
"""The shape of ids of events and audit entries: those of a Redis stream."""


class QueryParameters(BaseModel):
    """Query parameters."""

    model_config = ConfigDict(extra="forbid")


def _restore_plus(value: object) -> object:
    """A time whose offset has its plus sign back: unescaped in a query, it means a space."""
    if isinstance(value, str) and value[-6:-5] == " ":
        return f"{value[:-6]}+{value[-5:]}"
    return value


_QueryTime = Annotated[Rfc3339Time, BeforeValidator(_restore_plus)]


class JobsQuery(QueryParameters):
    """Which jobs to list, newest first."""

    state: Annotated[State | None, Field(description=f"one of {', '.join(State)}")] = None
    kind: Annotated[Kind | None, Field(description="model or workflow")] = None
    target: Annotated[Target | None, Field(description="a target, as gpt-image-2")] = None
    code: Annotated[
        str | None, Field(min_length=1, max_length=128, description="a reason's code, as uncertain")
    ] = None
    cause: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="why the outcome of an uncertain job is unknown, as HTTP_502",
        ),
    ] = None
    tag: Annotated[
        Annotated[str, matching(TAG_CHAR + r"{1,64}")] | None, Field(description="one tag")
    ] = None
    batch: Annotated[
        StoredBatch | None,
        Field(description="one batch; one of a tenant, for others, as <tenant>~<batch>"),
    ] = None
    fair_key: StoredFairKey = None
    after: Annotated[
        Annotated[str, matching(STORED_JOB_ID)] | None,
        Field(description="the id of a job that they were enqueued to wait for"),
    ] = None
    account: Annotated[AccountLabel | None, Field(description="an account label")] = None
    finding: Annotated[
        Annotated[EvidenceFinding, Field(strict=False)] | None,
        Field(description="of jobs parked as uncertain, one of " + ", ".join(EvidenceFinding)),
    ] = None
    tenant: Annotated[TenantName | None, Field(description="a tenant's name")] = None
    since: Annotated[
        _QueryTime | None, Field(description=f"created at or after: {TIME_FORMAT}")
    ] = None
    until: Annotated[_QueryTime | None, Field(description=f"created before: {TIME_FORMAT}")] = None
    limit: Annotated[
        int,
        Field(ge=1, le=MAX_PAGE_SIZE, description=f"a whole number from 1 to {MAX_PAGE_SIZE}"),
    ] = 50
    cursor: Annotated[
        str | None,
        Field(max_length=1_000, description="the next_cursor of the previous page"),
    ] = None


class WaitQuery(QueryParameters):
    """How long to wait."""

    timeout_s: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_WAIT_S,
            allow_inf_nan=False,
            description=f"seconds from 0 to {MAX_WAIT_S:g}",
        ),
    ] = 30.0


class EventsQuery(QueryParameters):
    """Which transitions, and after which one."""

    state: Annotated[
        State | None, Field(description=f"the state before or after: one of {', '.join(State)}")
    ] = None
    kind: Annotated[Kind | None, Field(description="model or workflow")] = None
    target: Annotated[Target | None, Field(description="a target, as gpt-image-2")] = None
    account: Annotated[AccountLabel | None, Field(description="an account label")] = None
    finding: Annotated[
        Annotated[EvidenceFinding, Field(strict=False)] | None,
        Field(description="of jobs parked as uncertain, one of " + ", ".join(EvidenceFinding)),
    ] = None
    last_event_id: Annotated[
        Annotated[str, matching(ENTRY_ID_PATTERN)] | None,
        Field(description="the id of the last event received, as the header Last-Event-ID"),
    ] = None


class AuditQuery(QueryParameters):
    """Which actions of operators to list, newest first."""

    by: Annotated[
        str | None,
        Field(min_length=1, max_length=64, description="the name of the operator's token"),
    ] = None
    act: Annotated[
        str | None,
        Field(min_length=1, max_length=64, description="an action, as release or bulk_requeue"),
    ] = None
    since: Annotated[_QueryTime | None, Field(description=f"at or after: {TIME_FORMAT}")] = None
    until: Annotated[_QueryTime | None, Field(description=f"before: {TIME_FORMAT}")] = None
    limit: Annotated[
        int,
        Field(ge=1, le=MAX_PAGE_SIZE, description=f"a whole number from 1 to {MAX_PAGE_SIZE}"),
    ] = 50
    cursor: Annotated[
        Annotated[str, matching(ENTRY_ID_PATTERN)] | None,
        Field(description="the next_cursor of the previous page"),
    ] = None


class HistoryQuery(QueryParameters):
    """How far back."""

    window: Annotated[SeriesWindow, Field(description="5m, 1h or 24h")] = SeriesWindow.HOUR


class CreditsQuery(QueryParameters):
    """Which rows of the ledger. Days are those of UTC, when the attempts ended."""

    by: Annotated[CreditsBy, Field(description="day, account, target, tag or batch")] = (
        CreditsBy.DAY
    )
    since: Annotated[
        date | None,
        Field(description="the first day, as 2026-11-01; by default 29 days before `until`"),
    ] = None
    until: Annotated[
        date | None, Field(description="the last day, as 2026-11-30; by default today")
    ] = None


class GroupsQuery(QueryParameters):
    """Which groups."""

    state: Annotated[Literal[State.PARKED, State.DEAD], Field(description="parked or dead")] = (
        State.PARKED
    )


# Bulk actions.
