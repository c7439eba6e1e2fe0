"""A run, and its state at a given time.

A run in flight holds no task and no timer. Its state is a function of the clock: processing (or
cancel_requested) before `ends_at`, and from then on the state of its `end`.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import UNSET

from worker.sandbox.faults.fault_table import FaultBehaviour, SandboxFault
from worker.sandbox.faults.options import FaultSpec, Route, RunOptions
from worker.sandbox.provider.accounts import ApiKey
from worker.sandbox.provider.catalogue import SandboxKind, SandboxMode, Target, make_result
from worker.sandbox.provider.replies import Credits, JsonObject, encode

INCOMPLETE = "PROVIDER_RESPONSE_INCOMPLETE"
"""The one failure whose credits are returned, by the provider's error table."""


class RunState(StrEnum):
    """The `status` of a poll."""

    PROCESSING = "processing"
    CANCEL_REQUESTED = "cancel_requested"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run fails; `is_plain_text`: the error is a string with the code beside it."""

    code: str
    message: str
    is_plain_text: bool = False

    def error(self) -> object:
        """Return the `error` of a poll."""
        return self.message if self.is_plain_text else {"code": self.code, "message": self.message}


@dataclass(slots=True, kw_only=True)
class SandboxRun:
    """One run, sync or async. It is stuck where `ends_at` is infinite."""

    id: str
    request_id: str
    target: Target
    key: ApiKey
    mode: SandboxMode
    cost: Credits
    started_at: float
    ends_at: float
    options: RunOptions
    end: RunState = RunState.COMPLETED
    failure: RunFailure | None = None
    no_result: FaultSpec | None = None
    uses_grant: bool = False
    is_charged: bool = False
    is_refunded: bool = False
    is_settled: bool = False
    is_cancel_requested: bool = False
    is_cancelled_with_result: bool = False
    polls: int = 0
    faults: Counter[Route] = field(default_factory=Counter[Route])
    """How many polls and cancels got a fault from its options."""
    reported_at: float | None = None
    delivered_at: float | None = None

    def state_at(self, now: float) -> RunState:
        """Return the state of the run at `now`."""
        if now < self.ends_at:
            return RunState.CANCEL_REQUESTED if self.is_cancel_requested else RunState.PROCESSING
        return self.end

    def has_ended(self, now: float) -> bool:
        """Return whether the run has ended at `now`."""
        return now >= self.ends_at

    def apply_fault(self, fault: SandboxFault, now: float) -> None:
        """Change a new run as its fault asks; faults that do not concern a run change nothing."""
        spec = fault.spec
        if fault.behaviour is FaultBehaviour.STUCK:
            self.ends_at = math.inf
        elif fault.behaviour is FaultBehaviour.FAILS:
            self.end = RunState.FAILED
            message = spec.message or "The provider could not finish the run"
            is_plain_text = spec.error == "string"
            self.failure = RunFailure(spec.code or "EXECUTION_FAILED", message, is_plain_text)
        elif fault.behaviour is FaultBehaviour.NO_RESULT:
            self.no_result = spec
        elif fault.behaviour is FaultBehaviour.SYNC_ANSWER:
            self.mode = SandboxMode.SYNC
            self.ends_at = now

    def request_cancel(self, now: float, cancel_s: float, fault: SandboxFault | None) -> None:
        """Request the end of the run; only the first request counts.

        A run that would finish before the cancel is done completes, unless `fault` says otherwise.
        """
        if self.is_cancel_requested:
            return
        self.is_cancel_requested = True
        behaviour = None if fault is None else fault.behaviour
        done_at = now + cancel_s
        if behaviour is FaultBehaviour.CANCEL_COMPLETED:
            self.end, self.ends_at = RunState.COMPLETED, done_at
        elif behaviour is FaultBehaviour.CANCEL_FINISHED or done_at < self.ends_at:
            self.end, self.ends_at = RunState.CANCELLED, done_at
            self.is_cancelled_with_result = behaviour is FaultBehaviour.CANCEL_FINISHED

    def result(self) -> object:
        """Return the result, made when it is needed: a run keeps none."""
        if self.no_result is not None:
            return self.no_result.result
        if self.options.result is not UNSET:
            return self.options.result
        result = make_result(self.target, self.id)
        missing = self.options.result_bytes - len(encode(result))
        if missing > 0:
            result["padding"] = "x" * max(0, missing - len(b',"padding":""'))
        return result


def format_time(unix_s: float) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    text = datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def execution_view(run: SandboxRun, now: float, status: str | None = None) -> JsonObject:
    """Return the response to a poll of `run`; `status` replaces the true one."""
    state = run.state_at(now)
    ended = run.has_ended(now)
    view: JsonObject = {
        "executionId": run.id,
        "requestId": run.request_id,
        "status": status or state,
        "createdAt": format_time(run.started_at),
        "modelIds": run.target.nodes,
    }
    if run.target.kind is SandboxKind.WORKFLOW:
        view["workflowSlug"] = run.target.name
    if ended:
        view["completedAt"] = format_time(run.ends_at)
    if state is RunState.COMPLETED or (ended and run.is_cancelled_with_result):
        view["cost"] = run.cost
        if (result := run.result()) is not UNSET:
            view["result"] = result
    if state is RunState.FAILED and run.failure is not None:
        view["error"] = run.failure.error()
        if run.failure.is_plain_text:
            view["code"] = run.failure.code
    return view


def webhook_payload(run: SandboxRun, now: float) -> JsonObject:
    """Return the webhook about the end of `run`."""
    omitted = {"createdAt", "completedAt", "cost", "code"}
    view = {name: v for name, v in execution_view(run, now).items() if name not in omitted}
    return {"event": f"execution.{run.state_at(now)}", "userId": run.key.user.id, **view}


def run_report(run: SandboxRun, now: float) -> JsonObject:
    """Return the run for an admin call; times in Unix seconds."""
    ended = run.has_ended(now)
    return {
        "id": run.id,
        "request_id": run.request_id,
        "label": run.options.label,
        "kind": run.target.kind,
        "target": run.target.name,
        "mode": run.mode,
        "user": run.key.user.id,
        "state": run.state_at(now),
        "cost": run.cost,
        "charged": run.is_charged,
        "refunded": run.is_refunded,
        "polls": run.polls,
        "started_at": run.started_at,
        "finished_at": run.ends_at if ended else None,
        "ends_at": None if math.isinf(run.ends_at) else run.ends_at,
        "seen_completed_at": run.reported_at,
        "delivered_at": run.delivered_at,
    }
