"""Concurrency caps: the request that sets one, and the responses that show them."""

from typing import Annotated, Literal

from msgspec import Meta
from pydantic import Field

from jobs.lane_caps import MAX_CAP
from worker.api.models.requests import ActionBody
from worker.api.models.response import ResponseModel, Time, rfc3339
from worker.app.lane_caps import ShownCap


class CapBody(ActionBody):
    """The cap of every lane of a scope."""

    cap: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_CAP,
            description=f"a whole number from 1 to {MAX_CAP}; to stop a scope, place a hold",
        ),
    ]


class CapResponse(ResponseModel):
    """How many jobs each lane of a scope may have submitted or running at once."""

    scope: Annotated[
        str, Meta(description="an account, account/kind, account/kind/target, or * for every lane")
    ]
    cap: Annotated[int, Meta(description="what counts now; the narrowest scope of a lane applies")]
    source: Annotated[Literal["operator", "setting"], Meta(description="setting: KNOUDS_LANE_CAPS")]
    default: Annotated[
        int | None, Meta(description="what KNOUDS_LANE_CAPS says for the scope, else null")
    ]
    set_at: Time | None
    set_by: str
    note: str


class CapPageResponse(ResponseModel):
    """Every cap, by scope."""

    items: list[CapResponse]
    next_cursor: None


class RemovedCapResponse(ResponseModel):
    """What counts for a scope once its cap is removed."""

    scope: str
    cap: Annotated[int | None, Meta(description="of KNOUDS_LANE_CAPS; null: no cap of its own")]


def cap_response(found: ShownCap) -> CapResponse:
    """One cap."""
    record = found.record
    has_time = record is not None and record.set_at > 0
    return CapResponse(
        scope=found.scope,
        cap=found.cap,
        source="setting" if record is None else "operator",
        default=found.default,
        set_at=rfc3339(record.set_at) if record is not None and has_time else None,
        set_by="" if record is None else record.set_by,
        note="" if record is None else record.note,
    )
