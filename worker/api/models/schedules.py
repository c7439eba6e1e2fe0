"""Schedules: the body that sets one, and the responses that show them."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field, WithJsonSchema

from jobs.job import Job
from jobs.schedules.cron import MAX_CRON_CHARS
from jobs.schedules.record import CatchUp, Overlap, Skip, SkipCause
from jobs.states import State
from jobs.tenants import tenant_of
from worker.api.models.enqueue import EnqueueWarningResponse, WarningsField, warning_responses
from worker.api.models.jobs import BlockerResponse, blocker_response
from worker.api.models.requests import MAX_ZONE_CHARS, ActionBody
from worker.api.models.response import (
    RawJson,
    ResponseModel,
    Time,
    optional_rfc3339,
    rfc3339,
)
from worker.app.schedules import ScheduleDetails, ShownSchedule
from worker.app.shown_ids import shown_job_id
from worker.store.codec import encode


class ScheduleBody(ActionBody):
    """A job that is enqueued at each tick of a cron line."""

    cron: Annotated[
        str,
        Field(
            max_length=MAX_CRON_CHARS,
            description="a cron line of five fields: minute, hour, day of month, month and day of"
            " week, as 0 3 * * *",
        ),
    ]
    job: Annotated[
        dict[str, Any],
        Field(description="a job request, as of POST /v1/jobs, without id, run_at and delay_s"),
        WithJsonSchema(
            {"type": "object", "allOf": [{"$ref": "#/components/schemas/JobRequestBody"}]}
        ),
    ]
    time_zone: Annotated[
        str,
        Field(
            max_length=MAX_ZONE_CHARS,
            description="the name of a time zone, as Europe/Berlin: the line is in its local time",
        ),
    ] = "UTC"
    overlap: Annotated[
        Annotated[Overlap, Field(strict=False)],
        Field(
            description='"skip": a tick makes no job while an earlier one is not finished; parked'
            ' ones do not count; or "enqueue"'
        ),
    ] = Overlap.SKIP
    catch_up: Annotated[
        Annotated[CatchUp, Field(strict=False)],
        Field(
            description='"none", "last" or "all": which ticks make a job that no worker saw within'
            " 60 s"
        ),
    ] = CatchUp.LAST
    enabled: Annotated[bool, Field(description="true, or false to enqueue nothing")] = True


class ScheduledRunResponse(ResponseModel):
    """A job of a schedule."""

    id: str
    state: State
    code: Annotated[str | None, Meta(description="of its reason, where it has one")]
    tick: Annotated[Time | None, Meta(description="null for a run that a person started")]
    created_at: Time
    finished_at: Time | None
    cost: float | None


class SkippedTicksResponse(ResponseModel):
    """The last ticks that made no job, for one cause."""

    cause: Annotated[
        SkipCause,
        Meta(
            description="overlap: an earlier run was not finished; missed: no worker was there in"
            " time, see `catch_up`; refused: its job was; id_taken: another job has the tick's id"
        ),
    ]
    tick: Annotated[Time, Meta(description="the last of them")]
    count: Annotated[int, Meta(description="how many; at least so many, where it is 1000")]
    at: Annotated[Time, Meta(description="when that was decided")]
    message: Annotated[
        str, Meta(description="what was refused, or the id of the job that is in the way")
    ]


class ScheduleResponse(ResponseModel):
    """A schedule. In lists `runs` and `why` are null, and `job` has no inputs."""

    name: Annotated[
        str,
        Meta(
            description="as the tokens of its tenant know it; for a token without a tenant"
            " <tenant>~<name>, where it has one"
        ),
    ]
    tenant: str
    cron: str
    time_zone: str
    job: Annotated[
        RawJson,
        Meta(
            extra_json_schema={"type": "object"},
            description="the job request; `inputs` are absent where no key reads them",
        ),
    ]
    overlap: Overlap
    catch_up: CatchUp
    enabled: bool
    next_ticks: Annotated[
        list[Time], Meta(description="the next five ticks, in lists one; none while disabled")
    ]
    last_run: Annotated[ScheduledRunResponse | None, Meta(description="of those on record")]
    last_skip: SkippedTicksResponse | None
    runs: Annotated[
        list[ScheduledRunResponse] | None,
        Meta(description="the last ten on record, newest first"),
    ]
    why: Annotated[
        list[BlockerResponse] | None,
        Meta(
            description="what keeps the next tick from making a job, or the job from running; empty"
            " where nothing does"
        ),
    ]
    error: Annotated[str, Meta(description="why its record cannot be read; empty where it can be")]
    set_by: str
    set_at: Annotated[Time | None, Meta(description="null where its record cannot be read")]
    note: str
    warnings: WarningsField = UNSET


class SchedulePageResponse(ResponseModel):
    """Schedules, by name."""

    items: list[ScheduleResponse]
    next_cursor: None


def schedule_response(
    shown: ShownSchedule,
    details: ScheduleDetails | None = None,
) -> ScheduleResponse:
    """A schedule as JSON; with its details where they are given."""
    schedule = shown.schedule
    return ScheduleResponse(
        name=shown_job_id(schedule.name),
        tenant=tenant_of(schedule.name),
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        job=_job(shown, None if details is None else details.inputs),
        overlap=schedule.overlap,
        catch_up=schedule.catch_up,
        enabled=schedule.enabled,
        next_ticks=[rfc3339(tick) for tick in shown.next_ticks],
        last_run=None if shown.last_run is None else _run(shown.last_run),
        last_skip=None if shown.skip is None else _skip(shown.skip),
        runs=None if details is None else [_run(job) for job in details.runs],
        why=None if details is None else [blocker_response(one) for one in details.blockers],
        error=schedule.error,
        set_by=schedule.set_by,
        set_at=None if schedule.error else rfc3339(schedule.set_at),
        note=schedule.note,
        warnings=_warnings(details),
    )


def _warnings(details: ScheduleDetails | None) -> list[EnqueueWarningResponse] | UnsetType:
    found = () if details is None else details.warnings
    return warning_responses(found) or UNSET


def _job(shown: ShownSchedule, inputs: bytes | None) -> msgspec.Raw:
    members: dict[str, Any] = dict(shown.schedule.job)
    if inputs is not None:
        members["inputs"] = msgspec.Raw(inputs)
    return msgspec.Raw(encode(members))


def _run(job: Job) -> ScheduledRunResponse:
    return ScheduledRunResponse(
        id=shown_job_id(job.id),
        state=job.state,
        code=job.reason.code if job.reason else None,
        tick=optional_rfc3339(job.scheduled_for),
        created_at=rfc3339(job.created_at),
        finished_at=optional_rfc3339(job.finished_at),
        cost=job.cost,
    )


def _skip(skip: Skip) -> SkippedTicksResponse:
    is_job = skip.cause in (SkipCause.OVERLAP, SkipCause.ID_TAKEN)
    return SkippedTicksResponse(
        cause=skip.cause,
        tick=rfc3339(skip.tick),
        count=skip.count,
        at=rfc3339(skip.at),
        message=shown_job_id(skip.message) if is_job else skip.message,
    )
