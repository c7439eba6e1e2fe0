"""Request models besides `JobRequestBody`: bodies of actions, holds and budgets.

Each description completes "must be …" in the error for a wrong value.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from jobs.budgets.record import MIN_LIMIT, BudgetPeriod
from jobs.credits.charges import MAX_CREDITS
from jobs.evidence.records import EvidenceFinding
from jobs.states import State
from jobs.tenants import STORED_JOB_ID, TENANT, TENANT_MARK
from worker.app.job_request_parser import (
    TAG_CHAR,
    AccountLabel,
    KindName,
    Rfc3339Time,
    Target,
    matching,
)

MAX_BULK_JOBS: Final = 1_000
MAX_NOTE_CHARS: Final = 1_000
MAX_SCOPE_CHARS: Final = 256
MAX_ZONE_CHARS: Final = 64

_NOTE_DESCRIPTION: Final = f"a string of at most {MAX_NOTE_CHARS} characters, kept in the audit log"

Note = Annotated[str, Field(max_length=MAX_NOTE_CHARS, description=_NOTE_DESCRIPTION)]

StoredBatch = Annotated[str, matching(f"(?:{TENANT.pattern}{TENANT_MARK})?{TAG_CHAR}{{1,128}}")]
StoredFairKey = Annotated[
    StoredBatch | None,
    Field(description="one fair key; one of a tenant, for others, as <tenant>~<key>"),
]
TIME_FORMAT: Final = "an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z"
TenantName = Annotated[str, matching(TENANT)]
ExecutionId = Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")]


class RequestBody(BaseModel):
    """A JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class BulkEnqueueBody(RequestBody):
    """Many job requests. Each is read by itself, so that an invalid one affects no other."""

    jobs: Annotated[
        list[object],
        Field(
            max_length=MAX_BULK_JOBS,
            description=f"an array of at most {MAX_BULK_JOBS} job requests",
        ),
        WithJsonSchema(
            {
                "type": "array",
                "maxItems": MAX_BULK_JOBS,
                "items": {"$ref": "#/components/schemas/JobRequestBody"},
            }
        ),
    ]


class ActionBody(RequestBody):
    """The operator's note on an action."""

    note: Note = ""


class RequeueBody(ActionBody):
    """A dead letter to requeue, with the inputs it has or with others."""

    inputs: Annotated[
        dict[str, Any] | None,
        Field(description="a JSON object that replaces the inputs"),
    ] = None


class ReleaseBody(ActionBody):
    """A parked job to release, with the inputs it has or with others."""

    inputs: Annotated[
        dict[str, Any] | None,
        Field(
            description="a JSON object that replaces the inputs; not for a job whose run the"
            " provider may have"
        ),
    ] = None


class ErasureBody(ActionBody):
    """Which payloads may be erased."""

    force: Annotated[
        bool,
        Field(description="true to erase those of a dead or parked job, too: it cannot run then"),
    ] = False


class ResolveBody(ActionBody):
    """How to resolve an uncertain job: exactly one of `execution_id` and `outcome`."""

    execution_id: Annotated[
        ExecutionId | None,
        Field(description="the id of the execution at the provider"),
    ] = None
    outcome: Annotated[
        Literal["resubmit", "discard"] | None,
        Field(description='"resubmit", which may be paid twice, or "discard"'),
    ] = None


class HoldBody(ActionBody):
    """A scope to pause."""

    scope: Annotated[
        str,
        Field(description="default, default/model or default/model/gpt-image-2"),
    ]


class BalanceBody(ActionBody):
    """The credits of an account, as the provider's billing page shows them."""

    account: Annotated[AccountLabel, Field(description="an account label")] = "default"
    credits: Annotated[
        float, Field(ge=0, le=1e9, allow_inf_nan=False, description="a number from 0 to 1e9")
    ]


class BudgetBody(ActionBody):
    """A limit in credits. What is spent of it counts on unless scope, period or zone change."""

    scope: Annotated[
        str,
        Field(
            max_length=MAX_SCOPE_CHARS,
            description="an account, account/kind, account/kind/target, tag:NAME or batch:NAME",
        ),
    ]
    period: Annotated[
        Annotated[BudgetPeriod, Field(strict=False)], Field(description="day, month or total")
    ]
    limit: Annotated[
        float,
        Field(
            ge=MIN_LIMIT,
            le=MAX_CREDITS,
            allow_inf_nan=False,
            description=f"a number of credits more than 0 and at most {MAX_CREDITS:,.0f}",
        ),
    ]
    time_zone: Annotated[
        str,
        Field(
            max_length=MAX_ZONE_CHARS,
            description="the name of a time zone, as Europe/Berlin: days and months begin at"
            " midnight there",
        ),
    ] = "UTC"


# Query parameters. They are strings, so these models are not strict.


MAX_BULK_ACTION_JOBS: Final = 100_000
MAX_SELECTED_JOBS: Final = 1_000


class JobFilter(RequestBody):
    """Which jobs an action is for: those that match every field given, or `all` of them."""

    all: Annotated[
        bool, Field(description="true, as the only field: every job in a state the action is for")
    ] = False
    ids: Annotated[
        list[Annotated[str, matching(STORED_JOB_ID)]] | None,
        Field(
            min_length=1,
            max_length=MAX_SELECTED_JOBS,
            description=f"1 to {MAX_SELECTED_JOBS} job ids",
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
        Rfc3339Time | None, Field(description=f"created at or after: {TIME_FORMAT}")
    ] = None
    until: Annotated[Rfc3339Time | None, Field(description=f"created before: {TIME_FORMAT}")] = None


class BulkActionBody(ActionBody):
    """An action on every job that a filter matches."""

    filter: Annotated[
        JobFilter,
        Field(description='an object with the fields of GET /v1/jobs, ids, or {"all": true}'),
    ]
    dry_run: Annotated[bool, Field(description="true to count only, or false")] = False
    list_ids: Annotated[
        bool, Field(description="true to list the jobs of a dry run by id, or false")
    ] = False
    limit: Annotated[
        Annotated[int, Field(ge=1, le=MAX_BULK_ACTION_JOBS)] | None,
        Field(
            description=f"a whole number from 1 to {MAX_BULK_ACTION_JOBS}: act on so many jobs, the"
            " newest first"
        ),
    ] = None


class BulkRequeueBody(BulkActionBody):
    """Dead letters to requeue, with changed inputs where a patch is given."""

    patch_inputs: Annotated[
        dict[str, Any] | None,
        Field(
            description="a JSON object, a merge patch (RFC 7396) for the inputs of each job: null"
            " removes a field"
        ),
    ] = None
