"""Responses that show holds, and groups of parked jobs and dead letters."""

from typing import Annotated

from msgspec import Meta

from jobs.holds import Hold, HoldPhase
from jobs.newer import is_newer, is_newer_gate
from jobs.states import Kind, State
from worker.api.models.response import ResponseModel, Time, optional_rfc3339, rfc3339
from worker.app.queries import GroupSummary


class GroupResponse(ResponseModel):
    """Parked jobs or dead letters of one code and lane."""

    state: State
    code: str
    cause: Annotated[
        str | None,
        Meta(description="of uncertain jobs: why the outcome is unknown, as `HTTP_502`; else null"),
    ]
    kind: Kind
    target: str
    account: str
    count: int
    oldest: Time
    message: str
    action: str
    action_url: str | None
    est_cost: Annotated[
        float | None,
        Meta(description="credits, see the setting KNOUDS_DEFAULT_ESTIMATE; null where unknown"),
    ]
    findings: Annotated[
        dict[str, int],
        Meta(description="of an uncertain group: how many of its jobs have each finding"),
    ]
    newer: Annotated[
        bool,
        Meta(description="a newer version wrote the job that is in it longest: no action fits it"),
    ]


class GroupPageResponse(ResponseModel):
    """Groups, the largest first."""

    items: list[GroupResponse]
    next_cursor: None


class HoldResponse(ResponseModel):
    """A closed or opening gate over a scope."""

    id: str
    scope: str
    code: str
    phase: HoldPhase
    http_status: int | None
    message: str
    action: str
    action_url: str | None
    created_at: Time
    created_by: str
    note: str
    hits: int
    relapses: int
    step: Annotated[int, Meta(description="while opening: submits at once, 1, 2, 4, 8 …")]
    accepted: int
    released_at: Time | None
    released_by: str
    jobs: Annotated[
        int | None,
        Meta(description="jobs it parked; null where Redis did not answer after an action"),
    ]
    newer: Annotated[bool, Meta(description="a newer version wrote it: it cannot be released")]


class HoldPageResponse(ResponseModel):
    """Holds, oldest first."""

    items: list[HoldResponse]
    next_cursor: None


class ReleasedHoldResponse(ResponseModel):
    """A released hold, and how many jobs returned to the queue."""

    hold: HoldResponse
    released: int


def group_response(summary: GroupSummary) -> GroupResponse:
    """A group; its message and action are those of the job that is in it longest."""
    group, reason = summary.group, summary.group.sample.reason
    return GroupResponse(
        state=group.state,
        code=group.code,
        cause=group.cause or None,
        kind=group.lane.kind,
        target=group.lane.target,
        account=group.lane.account,
        count=group.count,
        oldest=rfc3339(group.since),
        message=reason.message if reason else "",
        action=reason.action if reason else "",
        action_url=reason.action_url if reason else None,
        est_cost=summary.est_cost,
        findings={finding.value: count for finding, count in summary.findings.items()},
        newer=is_newer(group.sample),
    )


def hold_response(hold: Hold, jobs: int | None) -> HoldResponse:
    """A hold, with the number of jobs it parked; None if that is unknown."""
    return HoldResponse(
        id=hold.id,
        scope=hold.scope,
        code=hold.code,
        phase=hold.phase,
        http_status=hold.http_status,
        message=hold.message,
        action=hold.action,
        action_url=hold.action_url,
        created_at=rfc3339(hold.created_at),
        created_by=hold.created_by,
        note=hold.note,
        hits=hold.hits,
        relapses=hold.relapses,
        step=hold.step,
        accepted=hold.accepted,
        released_at=optional_rfc3339(hold.released_at),
        released_by=hold.released_by,
        jobs=jobs,
        newer=is_newer_gate(hold),
    )
