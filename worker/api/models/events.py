"""The data of server-sent events."""

from typing import Annotated, Literal

from msgspec import Meta

from jobs.lanes import Lane
from jobs.states import Kind, State
from worker.api.models.response import ResponseModel, Time, rfc3339
from worker.store.commit import TransitionEvent


class TransitionResponse(ResponseModel, rename={"before": "from", "after": "to"}):
    """The data of an event `job`: a job changed its state."""

    id: str
    kind: Kind
    target: str
    account: str
    before: Annotated[State | None, Meta(description="null: the job is new")]
    after: State
    at: Time
    code: Annotated[str | None, Meta(description="the code of its reason, where it has one")]


class ResetResponse(ResponseModel):
    """The data of an event `reset`: transitions are missing before it, read the lists again."""

    why: Literal["missing"]


def transition_response(transition: TransitionEvent, lane: Lane) -> TransitionResponse:
    """A transition of a job in `lane`."""
    return TransitionResponse(
        id=transition.id,
        kind=lane.kind,
        target=lane.target,
        account=lane.account,
        before=transition.before,
        after=transition.after,
        at=rfc3339(transition.at),
        code=transition.code,
    )
