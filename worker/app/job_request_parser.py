"""Reads and checks job requests, of `POST /v1/jobs` and of plain arq.

An error names the field and the fix, never the value: inputs stay out of error texts.
"""

import difflib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from config.callback_hosts import MAX_URL_CHARS
from config.settings import DEFAULT_ACCOUNT
from jobs.dependencies.parents import MAX_PARENTS
from jobs.dependencies.references import BadReference, references_in
from jobs.lanes import ACCOUNT_LABEL, JOB_ID, PRIORITY_SPAN, TARGET, JobId
from jobs.requests import JobRequest
from jobs.states import Kind, OnUncertain
from worker.app.enqueue import MAX_DELAY_S, InvalidRequest
from worker.app.job_metadata import METADATA_FIX, check_metadata, encode_metadata

MAX_DEADLINE_S: Final = 366 * 86_400
"""366 days, as in the setting `KNOUDS_RUN_DEADLINE_S`."""

MAX_ATTEMPTS: Final = 100
MAX_TAGS: Final = 20
MAX_TAG_CHARS: Final = 64
MAX_BATCH_CHARS: Final = 128
MAX_FAIR_KEY_CHARS: Final = 128

MAX_SHOWN_CHARS: Final = 128

TAG_CHAR: Final = r"[A-Za-z0-9._:@/+=-]"
"""Characters of tags, batches and fair keys, which are part of Redis keys and of filters."""

_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)
MIN_TIME_S: Final = -62_135_596_800.0
"""0001-01-01T00:00:00Z"""
MAX_TIME_S: Final = 253_402_300_799.999
"""9999-12-31T23:59:59.999Z, the last time that can be shown."""

_TIME_EXAMPLE: Final = "2030-01-31T09:30:00Z"


def read_time(value: object) -> object:
    """Read an RFC 3339 time with its zone as Unix seconds; raises ValueError with the fix.

    None passes.
    """
    if value is None:
        return None
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"must be an RFC 3339 time with a zone, as {_TIME_EXAMPLE}")
    day, clock, zone = match.groups()
    if zone is None:
        raise ValueError(f"has no time zone: end it with Z or an offset, as {_TIME_EXAMPLE}")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone.upper()}")
    except ValueError:
        raise ValueError(f"is no time that exists: write it as {_TIME_EXAMPLE}") from None
    seconds = round(moment.timestamp(), 3)
    if not MIN_TIME_S <= seconds <= MAX_TIME_S:
        raise ValueError("must be from the year 1 to the year 9999 in UTC")
    return seconds


def matching(pattern: str | re.Pattern[str]) -> Any:
    """A field constraint: the whole text has this shape."""
    text = pattern if isinstance(pattern, str) else pattern.pattern
    return Field(pattern=f"^(?:{text})$")


Rfc3339Time = Annotated[
    float,
    BeforeValidator(read_time),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": [_TIME_EXAMPLE]}),
]
Target = Annotated[str, matching(TARGET)]
AccountLabel = Annotated[str, matching(ACCOUNT_LABEL)]
Tag = Annotated[str, matching(TAG_CHAR + f"{{1,{MAX_TAG_CHARS}}}")]
Batch = Annotated[str, matching(TAG_CHAR + f"{{1,{MAX_BATCH_CHARS}}}")]
FairKey = Annotated[str, matching(TAG_CHAR + f"{{1,{MAX_FAIR_KEY_CHARS}}}")]
KindName = Annotated[Kind, Field(strict=False)]


class JobRequestBody(BaseModel):
    """A job request. A wrong value is answered with the description of its field."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Annotated[KindName, Field(description='"model" or "workflow"')]
    target: Annotated[
        Target,
        Field(
            description="a model's internal name or a workflow's slug: lowercase letters, digits"
            " and hyphens, as gpt-image-2"
        ),
    ]
    inputs: Annotated[dict[str, Any], Field(description="a JSON object, the inputs of the run")]
    id: Annotated[
        Annotated[str, matching(JOB_ID)] | None,
        Field(
            description="1 to 128 letters, digits and . _ : @ - that start with a letter or digit;"
            " the same id never makes a second job"
        ),
    ] = None
    priority: Annotated[
        int,
        Field(
            ge=-PRIORITY_SPAN,
            le=PRIORITY_SPAN,
            description=f"a whole number from -{PRIORITY_SPAN} to {PRIORITY_SPAN}, higher first",
        ),
    ] = 0
    tags: Annotated[
        list[Tag],
        Field(
            max_length=MAX_TAGS,
            description=f"at most {MAX_TAGS} texts of 1 to 64 letters, digits and . _ : @ / + = -",
        ),
    ] = []
    batch: Annotated[
        Batch | None,
        Field(description="1 to 128 letters, digits and . _ : @ / + = -"),
    ] = None
    fair_key: Annotated[
        FairKey | None,
        Field(
            description=f"1 to {MAX_FAIR_KEY_CHARS} letters, digits and . _ : @ / + = -, a tenant"
            " or user: in a lane, keys take turns"
        ),
    ] = None
    run_at: Annotated[
        Rfc3339Time | None,
        Field(
            description=f"when to run it, within ten years: an RFC 3339 time with a zone, as"
            f" {_TIME_EXAMPLE}"
        ),
    ] = None
    delay_s: Annotated[
        Annotated[float, Field(ge=0, le=MAX_DELAY_S, allow_inf_nan=False)] | None,
        Field(description="seconds from now, from 0 to ten years; run_at names a time instead"),
    ] = None
    start_by: Annotated[
        Rfc3339Time | None,
        Field(
            description="it is cancelled unless it is sent by this time, within ten years: an RFC"
            f" 3339 time with a zone, as {_TIME_EXAMPLE}"
        ),
    ] = None
    max_attempts: Annotated[
        Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None,
        Field(description=f"a whole number from 1 to {MAX_ATTEMPTS}"),
    ] = None
    deadline_s: Annotated[
        Annotated[float, Field(gt=0, le=MAX_DEADLINE_S, allow_inf_nan=False)] | None,
        Field(description="seconds above 0, at most 366 days, that a submitted run may take"),
    ] = None
    on_uncertain: Annotated[
        Annotated[OnUncertain, Field(strict=False)] | None,
        Field(
            description='"park", "reconcile", or "retry", which may pay for a run twice;'
            " KNOUDS_ON_UNCERTAIN if omitted"
        ),
    ] = None
    callback_url: Annotated[
        Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARS)] | None,
        Field(
            description="a URL of a host in KNOUDS_CALLBACK_HOSTS that hears how the job ends;"
            " KNOUDS_CALLBACK_URL if omitted"
        ),
    ] = None
    metadata: Annotated[
        Annotated[dict[str, str | bool | int | float], BeforeValidator(check_metadata)] | None,
        Field(description=f"{METADATA_FIX}; shown wherever the job is shown"),
    ] = None
    after: Annotated[
        list[Annotated[str, matching(JOB_ID)]],
        Field(
            max_length=MAX_PARENTS,
            description=f"ids of at most {MAX_PARENTS} jobs that have to succeed first; inputs may"
            ' take from their results: {"$result": "id", "pointer": "/images/0"}',
        ),
    ] = []
    account: Annotated[
        AccountLabel,
        Field(
            description="an account label: lowercase letters, digits, _ and -, at most 63,"
            " starting with a letter or digit"
        ),
    ] = DEFAULT_ACCOUNT


def parse_job_request(data: object, *, max_inputs_bytes: int) -> tuple[JobId | None, JobRequest]:
    """Read a job request from decoded JSON; raises `InvalidRequest`."""
    if not isinstance(data, dict):
        raise InvalidRequest("job", "must be a JSON object with kind, target and inputs")
    try:
        body = JobRequestBody.model_validate(data)
    except ValidationError as error:
        raise as_invalid_request(error, JobRequestBody) from None
    if body.run_at is not None and body.delay_s is not None:
        raise InvalidRequest("delay_s", "cannot be given with run_at: give one of the two")
    request = JobRequest(
        kind=body.kind,
        target=body.target,
        inputs=encode_inputs(body.inputs, max_inputs_bytes),
        account=body.account,
        priority=body.priority,
        tags=tuple(dict.fromkeys(body.tags)),
        batch=body.batch,
        fair_key=body.fair_key,
        run_at=body.run_at,
        delay_s=body.delay_s,
        start_by=body.start_by,
        max_attempts=body.max_attempts,
        deadline_s=body.deadline_s,
        on_uncertain=body.on_uncertain,
        callback_url=body.callback_url,
        metadata=_encoded_metadata(body.metadata),
        after=tuple(dict.fromkeys(body.after)),
    )
    _check_after(body.id, request)
    return JobId(body.id) if body.id is not None else None, request


def _encoded_metadata(metadata: Mapping[str, object] | None) -> bytes | None:
    try:
        return encode_metadata(metadata)
    except ValueError as error:
        raise InvalidRequest("metadata", str(error)) from None


def _check_after(job_id: str | None, request: JobRequest) -> None:
    """Refuse a job that waits for itself, and references to results of jobs it does not name."""
    if job_id is not None and job_id in request.after:
        raise InvalidRequest("after", "names the job itself: a job cannot wait for itself")
    try:
        references = references_in(request.inputs)
    except BadReference as error:
        raise InvalidRequest(error.path, str(error)) from None
    for reference in references:
        if reference.job_id not in request.after:
            raise InvalidRequest(
                reference.path,
                f"takes from the result of job {reference.job_id[:MAX_SHOWN_CHARS]!r}, which"
                " `after` does not name: add it there",
            )


def parse_arq_call(
    kind: Kind,
    target: object,
    inputs: object,
    arq_id: str,
    options: Mapping[str, Any],
    *,
    max_inputs_bytes: int,
) -> tuple[JobId, JobRequest]:
    """Read the job request of a plain arq call; raises `InvalidRequest`.

    `options` are the keyword arguments of `enqueue_job`; the job's id is arq's.
    """
    own = {"kind": kind.value, "target": target, "inputs": inputs, "id": arq_id}
    for name in options:
        if name in own:
            raise InvalidRequest(
                name, "is not an option: kind, target, inputs and id come from the call"
            )
    job_id, request = parse_job_request({**own, **options}, max_inputs_bytes=max_inputs_bytes)
    return job_id or JobId(arq_id), request


def encode_inputs(inputs: Mapping[str, Any], max_bytes: int) -> bytes:
    """Inputs as JSON text with sorted keys; raises `InvalidRequest` above `max_bytes`."""
    try:
        text = msgspec.json.encode(inputs, order="sorted")
    except RecursionError:
        raise InvalidRequest("inputs", "are nested too deep: flatten them") from None
    except UnicodeEncodeError:
        raise InvalidRequest(
            "inputs", "contain half a surrogate pair: send whole characters"
        ) from None
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest("inputs", "must contain only JSON values") from None
    if len(text) > max_bytes:
        raise InvalidRequest(
            "inputs",
            f"are {len(text)} bytes of JSON and may be {max_bytes} (KNOUDS_MAX_INPUTS_BYTES):"
            " pass large files by URL",
        )
    return text


def encode_new_inputs(inputs: Mapping[str, Any], max_bytes: int) -> bytes:
    """Inputs of a job that exists, as `encode_inputs`; they cannot take from results."""
    text = encode_inputs(inputs, max_bytes)
    try:
        references = references_in(text)
    except BadReference as error:
        raise InvalidRequest(error.path, str(error)) from None
    if references:
        raise InvalidRequest(
            references[0].path,
            "takes from a result: only a new job can, with `after`; give the value itself",
        )
    return text


# From pydantic's errors to ours.


def as_invalid_request(error: ValidationError, model: type[BaseModel]) -> InvalidRequest:
    """The first error as field and fix, without the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "body"
    known = model.model_fields.get(name)
    wanted = (known.description if known is not None else None) or "something else"
    match first["type"]:
        case "extra_forbidden":
            return InvalidRequest(_printable(name), _unknown_field_message(name, model))
        case "missing":
            return InvalidRequest(name, f"is missing: give {wanted}")
        case "value_error":
            return InvalidRequest(
                _field_path(first["loc"]), first["msg"].removeprefix("Value error, ")
            )
        case _:
            return InvalidRequest(_field_path(first["loc"]), f"must be {wanted}")


def _unknown_field_message(name: str, model: type[BaseModel]) -> str:
    known = list(model.model_fields)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"is not known here: did you mean {close[0]}?"
    return f"is not known here: {'there are ' + ', '.join(known) if known else 'omit it'}"


def _field_path(loc: tuple[int | str, ...]) -> str:
    """`tags[3]` for `("tags", 3)`, without pydantic's names of union branches."""
    name, *inside = loc or ("body",)
    return str(name) + "".join(f"[{part}]" for part in inside if isinstance(part, int))


def _printable(name: str) -> str:
    """A field name of the caller, shortened and on one line."""
    text = name.encode("ascii", "backslashreplace").decode()
    return repr(text[:64])[1:-1]
