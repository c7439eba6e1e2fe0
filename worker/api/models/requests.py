"""What requests may hold beside an order: bodies of acts and holds, query parameters.

Each description is what a wrong value is told it must be.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from jobs.lanes import JOB_ID
from jobs.states import Kind, State
from worker.app.job_request_parser import PLAIN, Account, KindName, Target, Time, shape
from worker.store.metrics.series import Window

BULK_MOST: Final = 1_000
PAGE_MOST: Final = 500
WAIT_MOST_S: Final = 120.0
NOTE_MOST: Final = 1_000

_NOTE: Final = f"a text of at most {NOTE_MOST} characters, kept on record"

Note = Annotated[str, Field(max_length=NOTE_MOST, description=_NOTE)]
ENTRY_ID: Final = r"[0-9]{1,19}(-[0-9]{1,19})?"
"""What the ids of events look like."""

ExecutionId = Annotated[str, shape(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")]


class Body(BaseModel):
    """A JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class BulkRequest(Body):
    """Many orders at once. Each is read by itself, so that a bad one harms no other."""

    jobs: Annotated[
        list[object],
        Field(max_length=BULK_MOST, description=f"an array of at most {BULK_MOST} orders"),
        WithJsonSchema(
            {
                "type": "array",
                "maxItems": BULK_MOST,
                "items": {"$ref": "#/components/schemas/OrderRequest"},
            }
        ),
    ]


class ActRequest(Body):
    """What a person says to an act."""

    note: Note = ""


class RequeueRequest(ActRequest):
    """A dead letter goes down the road again, as it was or with other inputs."""

    inputs: Annotated[
        dict[str, Any] | None,
        Field(description="a JSON object that replaces the inputs"),
    ] = None


class ResolveRequest(ActRequest):
    """What became of an uncertain job: exactly one of `execution_id` and `outcome`."""

    execution_id: Annotated[
        ExecutionId | None,
        Field(description="the id of the execution that was found at the provider"),
    ] = None
    outcome: Annotated[
        Literal["resubmit", "discard"] | None,
        Field(description='"resubmit", which may pay twice, or "discard"'),
    ] = None


class HoldRequest(ActRequest):
    """A pause."""

    scope: Annotated[
        str,
        Field(description="default, default/model or default/model/gpt-image-2"),
    ]


# Query parameters. They come as text, so these models are lax.


class Parameters(BaseModel):
    """Query parameters."""

    model_config = ConfigDict(extra="forbid")


def _mend_plus(value: object) -> object:
    """In a query the plus sign of an offset often arrives as the space it stands for there."""
    if isinstance(value, str) and value[-6:-5] == " ":
        return f"{value[:-6]}+{value[-5:]}"
    return value


_Moment = Annotated[Time, BeforeValidator(_mend_plus)]
_TIME: Final = "an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z"


class JobsQuery(Parameters):
    """Which jobs a list shows, newest first."""

    state: Annotated[State | None, Field(description=f"one of {', '.join(State)}")] = None
    kind: Annotated[Kind | None, Field(description="model or workflow")] = None
    target: Annotated[Target | None, Field(description="a target, as gpt-image-2")] = None
    code: Annotated[
        str | None, Field(min_length=1, max_length=128, description="a reason's code, as uncertain")
    ] = None
    tag: Annotated[
        Annotated[str, shape(PLAIN + r"{1,64}")] | None, Field(description="one tag")
    ] = None
    batch: Annotated[
        Annotated[str, shape(PLAIN + r"{1,128}")] | None, Field(description="one batch")
    ] = None
    account: Annotated[Account | None, Field(description="an account label")] = None
    since: Annotated[_Moment | None, Field(description=f"created at or after: {_TIME}")] = None
    until: Annotated[_Moment | None, Field(description=f"created before: {_TIME}")] = None
    limit: Annotated[
        int,
        Field(ge=1, le=PAGE_MOST, description=f"a whole number from 1 to {PAGE_MOST}"),
    ] = 50
    cursor: Annotated[
        str | None,
        Field(max_length=1_000, description="the next_cursor of the page before"),
    ] = None


class WaitQuery(Parameters):
    """How long to wait."""

    timeout_s: Annotated[
        float,
        Field(
            ge=0,
            le=WAIT_MOST_S,
            allow_inf_nan=False,
            description=f"seconds from 0 to {WAIT_MOST_S:g}",
        ),
    ] = 30.0


class EventsQuery(Parameters):
    """Which transitions, and after which one."""

    state: Annotated[
        State | None, Field(description=f"come from or to: one of {', '.join(State)}")
    ] = None
    kind: Annotated[Kind | None, Field(description="model or workflow")] = None
    target: Annotated[Target | None, Field(description="a target, as gpt-image-2")] = None
    account: Annotated[Account | None, Field(description="an account label")] = None
    last_event_id: Annotated[
        Annotated[str, shape(ENTRY_ID)] | None,
        Field(description="the id of the last event seen, as the header Last-Event-ID"),
    ] = None


class AuditQuery(Parameters):
    """Which acts of people, newest first."""

    by: Annotated[
        str | None, Field(min_length=1, max_length=64, description="the name of who did it")
    ] = None
    act: Annotated[
        str | None,
        Field(min_length=1, max_length=64, description="what was done, as release or bulk_requeue"),
    ] = None
    since: Annotated[_Moment | None, Field(description=f"done at or after: {_TIME}")] = None
    until: Annotated[_Moment | None, Field(description=f"done before: {_TIME}")] = None
    limit: Annotated[
        int,
        Field(ge=1, le=PAGE_MOST, description=f"a whole number from 1 to {PAGE_MOST}"),
    ] = 50
    cursor: Annotated[
        Annotated[str, shape(ENTRY_ID)] | None,
        Field(description="the next_cursor of the page before"),
    ] = None


class HistoryQuery(Parameters):
    """How far back."""

    window: Annotated[Window, Field(description="5m, 1h or 24h")] = Window.HOUR


class GroupsQuery(Parameters):
    """Which groups."""

    state: Annotated[Literal[State.PARKED, State.DEAD], Field(description="parked or dead")] = (
        State.PARKED
    )


# Acts on many jobs.

ACT_MOST: Final = 100_000
NAMED_MOST: Final = 1_000


class JobFilter(Body):
    """Which jobs an act is for: those that fit every field given, or `all` of them."""

    all: Annotated[
        bool, Field(description="true, alone: every job in a state that the act is for")
    ] = False
    ids: Annotated[
        list[Annotated[str, shape(JOB_ID)]] | None,
        Field(
            min_length=1, max_length=NAMED_MOST, description=f"1 to {NAMED_MOST} job ids, no more"
        ),
    ] = None
    state: Annotated[
        Annotated[State, Field(strict=False)] | None,
        Field(description=f"one of {', '.join(State)}"),
    ] = None
    kind: Annotated[KindName | None, Field(description="model or workflow")] = None
    target: Annotated[Target | None, Field(description="a target, as gpt-image-2")] = None
    code: Annotated[
        str | None, Field(min_length=1, max_length=128, description="a reason's code, as uncertain")
    ] = None
    tag: Annotated[
        Annotated[str, shape(PLAIN + r"{1,64}")] | None, Field(description="one tag")
    ] = None
    batch: Annotated[
        Annotated[str, shape(PLAIN + r"{1,128}")] | None, Field(description="one batch")
    ] = None
    account: Annotated[Account | None, Field(description="an account label")] = None
    since: Annotated[Time | None, Field(description=f"created at or after: {_TIME}")] = None
    until: Annotated[Time | None, Field(description=f"created before: {_TIME}")] = None


class BulkActRequest(ActRequest):
    """An act on all jobs that a filter admits."""

    filter: Annotated[
        JobFilter,
        Field(description='an object with the fields of GET /v1/jobs, ids, or {"all": true}'),
    ]
    dry_run: Annotated[bool, Field(description="true to count only, or false")] = False
    limit: Annotated[
        Annotated[int, Field(ge=1, le=ACT_MOST)] | None,
        Field(description=f"a whole number from 1 to {ACT_MOST}: act on so many, newest first"),
    ] = None


class BulkRequeueRequest(BulkActRequest):
    """Dead letters go down the road again, with changed inputs where a patch is given."""

    patch_inputs: Annotated[
        dict[str, Any] | None,
        Field(
            description="a JSON object, a merge patch (RFC 7396) for the inputs of each job: null"
            " removes a field"
        ),
    ] = None
