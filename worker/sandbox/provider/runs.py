"""A run: what was started, and what it is at a given moment.

A run in flight holds no task and no timer. Its state is a function of the clock: processing (or
cancel_requested) before `ends_at`, and from then on whatever it was bound to end as.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import assert_never

from msgspec import UNSET

from worker.sandbox.faults.options import FaultSpec, Knobs
from worker.sandbox.provider.accounts import ApiKey
from worker.sandbox.provider.catalogue import Kind, Mode, Target, make_result
from worker.sandbox.provider.replies import Credits, Execution, WebhookPayload, encode

INCOMPLETE = "PROVIDER_RESPONSE_INCOMPLETE"
"""The one failure whose credits are given back, by the provider's error table."""


class State(StrEnum):
    """What a poll reports as `status`."""

    PROCESSING = "processing"
    CANCEL_REQUESTED = "cancel_requested"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class End(StrEnum):
    """How a run ends when its time has come."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CANCELLED_WITH_RESULT = "cancelled_with_result"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run fails; `as_text`: the error is a plain string with the code beside it."""

    code: str
    message: str
    as_text: bool = False

    def error(self) -> object:
        """Return the `error` of a poll."""
        return self.message if self.as_text else {"code": self.code, "message": self.message}


@dataclass(slots=True, kw_only=True)
class Run:
    """One run, sync or async. Infinite `ends_at`: it is stuck."""

    id: str
    request_id: str
    target: Target
    key: ApiKey
    mode: Mode
    cost: Credits
    started_at: float
    ends_at: float
    knobs: Knobs
    end: End = End.COMPLETED
    failure: Failure | None = None
    no_result: FaultSpec | None = None
    by_grant: bool = False
    charged: bool = False
    refunded: bool = False
    settled: bool = False
    cancel_requested: bool = False
    polls: int = 0
    poll_faults: int = 0
    cancel_faults: int = 0
    seen_at: float | None = None
    delivered_at: float | None = None

    def state(self, now: float) -> State:
        """Return what the run is at `now`."""
        if now < self.ends_at:
            return State.CANCEL_REQUESTED if self.cancel_requested else State.PROCESSING
        match self.end:
            case End.COMPLETED:
                return State.COMPLETED
            case End.FAILED:
                return State.FAILED
            case End.CANCELLED | End.CANCELLED_WITH_RESULT:
                return State.CANCELLED
            case _:
                assert_never(self.end)

    def ended(self, now: float) -> bool:
        """Tell whether the run has ended."""
        return now >= self.ends_at

    def request_cancel(self, now: float, takes_s: float, end: End) -> None:
        """Ask for the end; only the first ask counts.

        A run that would finish by itself before the cancel is done, completes.
        """
        if self.cancel_requested:
            return
        self.cancel_requested = True
        done_at = now + takes_s
        if end is not End.CANCELLED or done_at < self.ends_at:
            self.end = end
            self.ends_at = done_at

    def result(self) -> object:
        """Return the result, built anew: runs in flight keep none."""
        if self.no_result is not None:
            return self.no_result.result
        if self.knobs.result is not UNSET:
            return self.knobs.result
        result = make_result(self.target, self.id)
        missing = self.knobs.result_bytes - len(encode(result))
        if missing > 0:
            result["padding"] = "x" * max(0, missing - len(b',"padding":""'))
        return result


def stamp(moment: float) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def view(run: Run, now: float, status: str | None = None) -> Execution:
    """Return the answer to a poll of `run`; `status` in place of the true one."""
    state = run.state(now)
    ended = run.ended(now)
    failed = run.failure if state is State.FAILED else None
    has_result = state is State.COMPLETED or (ended and run.end is End.CANCELLED_WITH_RESULT)
    is_workflow = run.target.kind is Kind.WORKFLOW
    return Execution(
        execution_id=run.id,
        request_id=run.request_id,
        status=status or state,
        created_at=stamp(run.started_at),
        workflow_slug=run.target.name if is_workflow else UNSET,
        model_ids=run.target.nodes,
        completed_at=stamp(run.ends_at) if ended else UNSET,
        result=run.result() if has_result else UNSET,
        cost=run.cost if has_result else UNSET,
        error=UNSET if failed is None else failed.error(),
        code=failed.code if failed is not None and failed.as_text else UNSET,
    )


def webhook_payload(run: Run, now: float) -> WebhookPayload:
    """Return the webhook that tells of the end of `run`."""
    seen = view(run, now)
    return WebhookPayload(
        event=f"execution.{run.state(now)}",
        execution_id=run.id,
        request_id=run.request_id,
        user_id=run.key.user.id,
        status=run.state(now),
        workflow_slug=seen.workflow_slug,
        model_ids=seen.model_ids,
        result=seen.result,
        error=seen.error,
    )


def record(run: Run, now: float) -> dict[str, object]:
    """Return the run as an admin sees it; times in unix seconds."""
    ended = run.ended(now)
    return {
        "id": run.id,
        "request_id": run.request_id,
        "label": run.knobs.label,
        "kind": run.target.kind,
        "target": run.target.name,
        "mode": run.mode,
        "user": run.key.user.id,
        "state": run.state(now),
        "cost": run.cost,
        "charged": run.charged,
        "refunded": run.refunded,
        "polls": run.polls,
        "started_at": run.started_at,
        "finished_at": run.ends_at if ended else None,
        "ends_at": None if math.isinf(run.ends_at) else run.ends_at,
        "seen_completed_at": run.seen_at,
        "delivered_at": run.delivered_at,
    }
