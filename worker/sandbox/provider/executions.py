"""The calls about a run, poll and cancel; and the two calls that only read."""

from dataclasses import dataclass

from worker.sandbox.faults.fault_table import FaultBehaviour, SandboxFault, refusal, resolve_fault
from worker.sandbox.faults.options import FaultSpec, Route
from worker.sandbox.faults.queue import SandboxCall
from worker.sandbox.provider.accounts import ApiKey
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
    """A run that the caller may see, and the fault to apply after the call took effect."""

    run: SandboxRun
    headers: dict[str, str]
    fault: SandboxFault | None


def poll(state: SandboxState, execution_id: str, key: str | None, now: float) -> SandboxResponse:
    """Return the response to a poll."""
    run = state.runs.get(execution_id)
    if run is not None:
        run.polls += 1
        state.ledger.labels[run.options.label].polls += 1
    found = _find_run(state, Route.POLL, run, key, now)
    if not isinstance(found, FoundRun):
        return found
    run, fault = found.run, found.fault
    state.settle(run, now)
    status = (
        fault.spec.status_text
        if fault is not None and fault.behaviour is FaultBehaviour.STATUS_UNKNOWN
        else None
    )
    if fault is None and run.reported_at is None and run.has_ended(now):
        run.reported_at = now
    return response_after(
        fault, SendReply(json_reply(execution_view(run, now, status), headers=found.headers))
    )


def cancel(state: SandboxState, execution_id: str, key: str | None, now: float) -> SandboxResponse:
    """Return the response to a cancel; a run that has ended stays as it is."""
    run = state.runs.get(execution_id)
    if run is not None:
        state.ledger.labels[run.options.label].cancels += 1
    found = _find_run(state, Route.CANCEL, run, key, now)
    if not isinstance(found, FoundRun):
        return found
    run = found.run
    if not run.has_ended(now):
        takes_s = run.options.cancel_s
        if takes_s is None:
            takes_s = state.config.cancel_s / state.config.speed
        run.request_cancel(now, takes_s, _end_of_cancel(found.fault))
        state.schedule_settlement(run)
    body = {"executionId": run.id, "requestId": run.request_id, "status": run.state_at(now)}
    return response_after(found.fault, SendReply(json_reply(body, headers=found.headers)))


def _end_of_cancel(fault: SandboxFault | None) -> RunEnd:
    if fault is not None and fault.behaviour is FaultBehaviour.CANCEL_FINISHED:
        return RunEnd.CANCELLED_WITH_RESULT
    if fault is not None and fault.behaviour is FaultBehaviour.CANCEL_COMPLETED:
        return RunEnd.COMPLETED
    return RunEnd.CANCELLED


def _find_run(
    state: SandboxState, route: Route, run: SandboxRun | None, key: str | None, now: float
) -> FoundRun | SandboxResponse:
    """Return the run where the caller may see it, else the response to send."""
    caller = state.admit(key, SandboxBucket.EXECUTION, now)
    if isinstance(caller, SandboxReply):
        return SendReply(caller)
    fault = _take_fault(state, route, run, key or "")
    fault_response = None if fault is None else response_before(fault)
    if fault_response is not None:
        return fault_response
    needed = "execution:read" if route is Route.POLL else "execution:cancel"
    missing = caller.key.missing_capability(needed)
    if missing is not None:
        return SendReply(denied(caller.key, missing))
    if run is None or run.key.user is not caller.key.user:
        return SendReply(refusal("EXECUTION_NOT_FOUND"))
    return FoundRun(run, dict(caller.headers), fault)


def _take_fault(
    state: SandboxState, route: Route, run: SandboxRun | None, key: str
) -> SandboxFault | None:
    """Return the fault of this poll or cancel: that of an admin first, else the run's own."""
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
    applied = run.poll_faults if route is Route.POLL else run.cancel_faults
    if spec.times is not None and applied >= spec.times:
        return None
    if route is Route.POLL:
        run.poll_faults += 1
    else:
        run.cancel_faults += 1
    return resolve_fault(spec, target.kind, target.name)


def _own_fault(run: SandboxRun, route: Route) -> FaultSpec | None:
    """Return the fault that the run's inputs ask for on `route`.

    A fault of the run itself counts where it applies to polls or cancels and not to submits.
    """
    options = run.options
    spec = options.poll if route is Route.POLL else options.cancel
    if spec is not None or not options.has_fault():
        return spec
    routes = resolve_fault(options, run.target.kind, run.target.name).default_routes
    return options if route in routes and Route.SUBMIT not in routes else None


def schema(state: SandboxState, slug: str, key: str | None, now: float) -> SandboxResponse:
    """Return the response to a read of a workflow's schema."""
    call = SandboxCall(Route.SCHEMA, key or "", SandboxKind.WORKFLOW, slug)
    admitted = _admit_reader(state, call, now)
    if not isinstance(admitted, Reader):
        return admitted
    missing = admitted.key.missing_capability("workflow:read")
    if missing is not None:
        return SendReply(denied(admitted.key, missing))
    if not SLUG.fullmatch(slug):
        return SendReply(refusal("INVALID_SLUG"))
    target = CATALOGUE.get((SandboxKind.WORKFLOW, slug))
    reply = refusal("HTTP_404") if target is None else json_reply(schema_of(target))
    return response_after(admitted.fault, SendReply(reply))


def whoami(state: SandboxState, key: str | None, now: float) -> SandboxResponse:
    """Return the response to whoami: the user, the tier and the capabilities of a key."""
    admitted = _admit_reader(state, SandboxCall(Route.WHOAMI, key or ""), now)
    if not isinstance(admitted, Reader):
        return admitted
    user = admitted.key.user
    capabilities = sorted(admitted.key.effective_capabilities())
    reply = json_reply({"userId": user.id, "tier": user.tier, "capabilities": capabilities})
    return response_after(admitted.fault, SendReply(reply))


@dataclass(frozen=True, slots=True)
class Reader:
    """The key of a call that only reads, and the fault to apply after the call took effect."""

    key: ApiKey
    fault: SandboxFault | None


def _admit_reader(state: SandboxState, call: SandboxCall, now: float) -> Reader | SandboxResponse:
    caller = state.admit(call.key, None, now)
    if isinstance(caller, SandboxReply):
        return SendReply(caller)
    fault = state.faults.take(call)
    fault_response = None if fault is None else response_before(fault)
    return Reader(caller.key, fault) if fault_response is None else fault_response
