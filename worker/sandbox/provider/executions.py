"""A run is followed: poll and cancel; and the two calls that only read."""

from dataclasses import dataclass

from worker.sandbox.faults.catalogue import FaultBehaviour, SandboxFault, refusal, resolve_fault
from worker.sandbox.faults.options import FaultSpec, Route
from worker.sandbox.faults.queue import SandboxCall
from worker.sandbox.provider.catalogue import CATALOGUE, SandboxKind, schema_of
from worker.sandbox.provider.limits import SandboxBucket
from worker.sandbox.provider.replies import SandboxReply, json_reply
from worker.sandbox.provider.responses import (
    SandboxResponse,
    SendReply,
    response_after,
    response_before,
)
from worker.sandbox.provider.runs import RunEnd, SandboxRun, execution_view
from worker.sandbox.provider.state import SandboxState, denied
from worker.sandbox.provider.submits import SLUG


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A caller who may see the run, and the fault that strikes the call after it took effect."""

    run: SandboxRun
    headers: dict[str, str]
    fault: SandboxFault | None


def poll(state: SandboxState, execution_id: str, key: str | None, now: float) -> SandboxResponse:
    """Decide on a poll."""
    run = state.runs.get(execution_id)
    if run is not None:
        run.polls += 1
        state.ledger.labels[run.options.label].polls += 1
    found = _find_run(state, Route.POLL, run, key, now)
    if not isinstance(found, FoundRun):
        return found
    run, fault = found.run, found.fault
    state.settle(run, now)
    odd = (
        fault.spec.status_text
        if fault is not None and fault.behaviour is FaultBehaviour.STATUS_UNKNOWN
        else None
    )
    if fault is None and run.reported_at is None and run.has_ended(now):
        run.reported_at = now
    return response_after(
        fault, SendReply(json_reply(execution_view(run, now, odd), headers=found.headers))
    )


def cancel(state: SandboxState, execution_id: str, key: str | None, now: float) -> SandboxResponse:
    """Decide on a cancel; a run that has ended stays as it is, and the answer says so."""
    run = state.runs.get(execution_id)
    if run is not None:
        state.ledger.labels[run.options.label].cancels += 1
    found = _find_run(state, Route.CANCEL, run, key, now)
    if not isinstance(found, FoundRun):
        return found
    run = found.run
    if not run.has_ended(now):
        asked = run.options.cancel_s
        takes_s = state.config.cancel_s / state.config.speed if asked is None else asked
        run.request_cancel(now, takes_s, _end_of_cancel(found.fault))
        state.schedule_settlement(run)
    answer = {"executionId": run.id, "requestId": run.request_id, "status": run.state_at(now)}
    return response_after(found.fault, SendReply(json_reply(answer, headers=found.headers)))


def _end_of_cancel(fault: SandboxFault | None) -> RunEnd:
    if fault is not None and fault.behaviour is FaultBehaviour.CANCEL_FINISHED:
        return RunEnd.CANCELLED_WITH_RESULT
    if fault is not None and fault.behaviour is FaultBehaviour.CANCEL_COMPLETED:
        return RunEnd.COMPLETED
    return RunEnd.CANCELLED


def _find_run(
    state: SandboxState, route: Route, run: SandboxRun | None, key: str | None, now: float
) -> FoundRun | SandboxResponse:
    """Let a caller in to a run, or return what they get instead."""
    caller = state.admit(key, SandboxBucket.EXECUTION, now)
    if isinstance(caller, SandboxReply):
        return SendReply(caller)
    fault = _take_fault(state, route, run, key or "")
    struck = None if fault is None else response_before(fault)
    if struck is not None:
        return struck
    right = "execution:read" if route is Route.POLL else "execution:cancel"
    missing = caller.key.missing_capability(right)
    if missing is not None:
        return SendReply(denied(caller.key, missing))
    if run is None or run.key.user is not caller.key.user:
        return SendReply(refusal("EXECUTION_NOT_FOUND"))
    return FoundRun(run, dict(caller.headers), fault)


def _take_fault(
    state: SandboxState, route: Route, run: SandboxRun | None, key: str
) -> SandboxFault | None:
    """Return the fault of this poll or cancel: an admin's first, else the run's own."""
    if run is None:
        return state.faults.take(SandboxCall(route, key))
    target = run.target
    call = SandboxCall(route, key, target.kind, target.name, run.options.label, run.mode)
    fault = state.faults.take(call)
    if fault is not None:
        return fault
    spec = _own_fault(run, route)
    if spec is None:
        return None
    struck = run.poll_faults if route is Route.POLL else run.cancel_faults
    if spec.times is not None and struck >= spec.times:
        return None
    if route is Route.POLL:
        run.poll_faults += 1
    else:
        run.cancel_faults += 1
    return resolve_fault(spec, target.kind, target.name)


def _own_fault(run: SandboxRun, route: Route) -> FaultSpec | None:
    """Return what the run's inputs ask for on `route`; a fault at home only there counts too."""
    knobs = run.options
    spec = knobs.poll if route is Route.POLL else knobs.cancel
    if spec is not None or not knobs.has_fault():
        return spec
    home = resolve_fault(knobs, run.target.kind, run.target.name).default_routes
    return knobs if route in home and Route.SUBMIT not in home else None


def schema(state: SandboxState, slug: str, key: str | None, now: float) -> SandboxResponse:
    """Decide on a look at a workflow's schema."""
    caller = state.admit(key, None, now)
    if isinstance(caller, SandboxReply):
        return SendReply(caller)
    fault = state.faults.take(SandboxCall(Route.SCHEMA, key or "", SandboxKind.WORKFLOW, slug))
    struck = None if fault is None else response_before(fault)
    if struck is not None:
        return struck
    missing = caller.key.missing_capability("workflow:read")
    if missing is not None:
        return SendReply(denied(caller.key, missing))
    if not SLUG.fullmatch(slug):
        return SendReply(refusal("INVALID_SLUG"))
    target = CATALOGUE.get((SandboxKind.WORKFLOW, slug))
    reply = refusal("HTTP_404") if target is None else json_reply(schema_of(target))
    return response_after(fault, SendReply(reply))


def whoami(state: SandboxState, key: str | None, now: float) -> SandboxResponse:
    """Decide on a key's question who it is."""
    caller = state.admit(key, None, now)
    if isinstance(caller, SandboxReply):
        return SendReply(caller)
    fault = state.faults.take(SandboxCall(Route.WHOAMI, key or ""))
    struck = None if fault is None else response_before(fault)
    if struck is not None:
        return struck
    user = caller.key.user
    rights = sorted(caller.key.effective_capabilities())
    answer = json_reply({"userId": user.id, "tier": user.tier, "capabilities": rights})
    return response_after(fault, SendReply(answer))
