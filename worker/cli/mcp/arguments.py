"""The arguments of the tools: those of the API's operations, and what is our own.

A description completes "must be …" in the error for a wrong value.
"""

from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, Field, WithJsonSchema

from worker.api.models.query_parameters import GroupsQuery, JobsQuery, QueryParameters
from worker.api.models.requests import (
    MAX_NOTE_CHARS,
    MAX_SCOPE_CHARS,
    ActionBody,
    ExecutionId,
    JobFilter,
    RequestBody,
)
from worker.app.job_request_parser import JobRequestBody
from worker.cli.mcp.bounds import CHUNK_CHARS
from worker.cli.text import Doc

MAX_PAGE_JOBS: Final = 50
MAX_WAIT_S: Final = 120
MAX_ACTION_JOBS: Final = 1_000
"""Jobs of one action: as many as a dry run names, so that the action is of these and no others."""

NOTE_END: Final = " (over MCP)"
"""What the audit log says of every action of a tool."""


def input_schema(model: type[BaseModel]) -> Doc:
    """The JSON schema of a tool's arguments, without references: not every client follows them."""
    schema: Doc = model.model_json_schema()
    shared: Doc = schema.pop("$defs", {})
    found = cast("Doc", _inlined(schema, shared))
    found.setdefault("properties", {})
    return found


def _inlined(value: object, shared: Doc) -> object:
    """A schema with what it refers to, and without what an assistant has no use for."""
    if isinstance(value, list):
        return [_inlined(one, shared) for one in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    schema = cast("Doc", value)
    if "$ref" in schema:
        named: Doc = shared[schema["$ref"].removeprefix("#/$defs/")]
        return _inlined({**named, **_without(schema, "$ref")}, shared)
    kinds: list[Doc] = schema.get("anyOf", [])
    if kinds[1:] == [{"type": "null"}]:  # it may be omitted just as well
        return _inlined({**kinds[0], **_without(schema, "anyOf")}, shared)
    return {
        name: _inlined(one, shared)
        for name, one in schema.items()
        if not (name == "title" and isinstance(one, str))
        and not (name == "default" and one is None)
    }


def _without(schema: Doc, name: str) -> Doc:
    return {key: one for key, one in schema.items() if key != name}


_FILTER_SCHEMA: Final = input_schema(JobFilter)

JobName = Annotated[str, Field(min_length=1, max_length=256, description="the id of a job")]


class NoArguments(RequestBody):
    """None."""


class JobArguments(RequestBody):
    """One job."""

    id: JobName


class GetJobArguments(JobArguments):
    """One job, or one value of it."""

    pointer: Annotated[
        str | None,
        Field(
            max_length=2_000,
            pattern="^(/.*)?$",
            description="a JSON pointer into `untrusted`, as /result/text: that value alone, as"
            f" text, {CHUNK_CHARS:,} characters at a time",
        ),
    ] = None
    offset: Annotated[
        int, Field(ge=0, description="with pointer: the character to begin at, from 0")
    ] = 0


class WaitArguments(JobArguments):
    """How long to wait."""

    timeout_s: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_WAIT_S,
            allow_inf_nan=False,
            strict=False,
            description=f"seconds from 0 to {MAX_WAIT_S}",
        ),
    ] = 30.0


class ListArguments(JobsQuery):
    """Which jobs to list, newest first."""

    limit: Annotated[
        int,
        Field(ge=1, le=MAX_PAGE_JOBS, description=f"a whole number from 1 to {MAX_PAGE_JOBS}"),
    ] = 20


class GroupArguments(GroupsQuery):
    """Which groups."""


class HoldArguments(QueryParameters):
    """None."""


class EnqueueArguments(JobRequestBody):
    """A job request. Without `id`, the same arguments are the same job."""

    key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="1 to 200 characters that tell this job from others with the same fields:"
            " choose another key to run the same again",
        ),
    ] = None
    dry_run: Annotated[
        bool, Field(description="true to learn what it costs and enqueue nothing, or false")
    ] = False


class ConfirmedArguments(ActionBody):
    """What every action takes."""

    note: Annotated[
        str,
        Field(
            max_length=MAX_NOTE_CHARS - len(NOTE_END),
            description="why you do this, for the audit log",
        ),
    ] = ""
    confirm: Annotated[
        str | None,
        Field(
            max_length=64,
            description="omitted for a dry run; then the token that it answered, with the same"
            " other arguments",
        ),
    ] = None


class BulkArguments(ConfirmedArguments):
    """An action on the jobs that a filter matches."""

    filter: Annotated[
        dict[str, Any],
        WithJsonSchema(_FILTER_SCHEMA),
        Field(description='an object with ids, fields of list_jobs, or {"all": true}'),
    ]
    limit: Annotated[
        Annotated[int, Field(ge=1, le=MAX_ACTION_JOBS)] | None,
        Field(
            description=f"a whole number from 1 to {MAX_ACTION_JOBS}: so many jobs, newest first"
        ),
    ] = None


class RequeueArguments(BulkArguments):
    """Dead letters to requeue."""

    patch_inputs: Annotated[
        dict[str, Any] | None,
        Field(
            description="a JSON merge patch (RFC 7396) for the inputs of each job: null removes a"
            " field"
        ),
    ] = None


class ResolveArguments(ConfirmedArguments):
    """An uncertain job, and what became of its submit."""

    id: JobName
    execution_id: Annotated[
        ExecutionId | None, Field(description="the id of its run at the provider: it is polled")
    ] = None
    outcome: Annotated[
        Literal["resubmit", "discard"] | None,
        Field(description='"resubmit", which may pay twice, or "discard"'),
    ] = None


class SetHoldArguments(ConfirmedArguments):
    """A scope to pause."""

    scope: Annotated[
        str,
        Field(
            max_length=MAX_SCOPE_CHARS,
            description="default, default/model or default/model/gpt-image-2",
        ),
    ]


class ReleaseHoldArguments(ConfirmedArguments):
    """A hold to release."""

    id: Annotated[str, Field(min_length=1, max_length=128, description="the id of a hold")]
