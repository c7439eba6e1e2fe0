"""The calls about a run, poll and cancel; and the two calls that only read."""

from collections.abc import Mapping

from msgspec import UNSET

from worker.sandbox.faults.fault_table import (
    FaultBehaviour,
    SandboxFault,
    documented_reply,
    resolve_fault,
)
from worker.sandbox.faults.options import FaultSpec, Route
from worker.sandbox.faults.queue import SandboxCall, applies_now
from worker.sandbox.provider import responses
from worker.sandbox.provider.accounts import ApiKey
from worker.sandbox.provider.catalogue import CATALOGUE, SandboxKind, schema_of
from worker.sandbox.provider.limits import SandboxBucket
from worker.sandbox.provider.replies import json_reply
from worker.sandbox.provider.runs import SandboxRun, execution_view
from worker.sandbox.provider.state import SandboxState, require_capability
from worker.sandbox.provider.submits import SLUG


def poll(
    state: SandboxState, execution_id: str, key: str | None, now: float
) -> responses.SandboxResponse:
    """Return the response to a poll."""
    if (polled := state.runs.get(execution_id)) is not None:
        polled.polls += 1
        state.ledger.labels[polled.options.label].polls += 1
    run, headers, fault = _find_run(state, Route.POLL, polled, key, now)
    state.settle(run, now)
    is_unknown = fault is not None and fault.behaviour is FaultBehaviour.STATUS_UNKNOWN
    status = fault.spec.status_text if fault is not None and is_unknown else None
    if fault is None and run.reported_at is None and run.has_ended(now):
        run.reported_at = now
    view = execution_view(run, now, status)
    if fault is not None and fault.behaviour is FaultBehaviour.NO_RESULT and "result" in view:
        del view["result"]
        if fault.spec.result is not UNSET:
            view["result"] = fault.spec.result
    return responses.apply_after(fault, responses.SendReply(json_reply(view, headers=headers)))


def cancel(
    state: SandboxState, execution_id: str, key: str | None, now: float
) -> responses.SandboxResponse:
    """Return the response to a cancel; a run that has ended stays as it is."""
    if (cancelled := state.runs.get(execution_id)) is not None:
        state.ledger.labels[cancelled.options.label].cancels += 1
    run, headers, fault = _find_run(state, Route.CANCEL, cancelled, key, now)
    if not run.has_ended(now):
        takes_s = run.options.cancel_s
        if takes_s is None:
            takes_s = state.config.cancel_s / state.config.speed
        run.request_cancel(now, takes_s, fault)
        state.schedule_settlement(run)
    body = {"executionId": run.id, "requestId": run.request_id, "status": run.state_at(now)}
    return responses.apply_after(fault, responses.SendReply(json_reply(body, headers=headers)))


def _find_run(
    state: SandboxState, route: Route, run: SandboxRun | None, key: str | None, now: float
) -> tuple[SandboxRun, Mapping[str, str], SandboxFault | None]:
    """Return the run, the rate-limit headers, and the fault to apply after the call took effect.

    Raises `SandboxRefusal` where the caller may not see the run.
    """
    caller = state.admit(key, SandboxBucket.EXECUTION, now)
    fault = _take_fault(state, route, run, key or "", now)
    responses.apply_before(fault)
    needed = "execution:read" if route is Route.POLL else "execution:cancel"
    require_capability(caller.key, needed)
    if run is None or run.key.user is not caller.key.user:
        raise responses.refused("EXECUTION_NOT_FOUND")
    return run, caller.headers, fault


def _take_fault(
    state: SandboxState, route: Route, run: SandboxRun | None, key: str, now: float
) -> SandboxFault | None:
    """Return the fault of this poll or cancel: that of an admin first, else the run's own."""
    if run is None:
        return state.faults.take(SandboxCall(route, key))
    target = run.target
    call = SandboxCall(
        route,
        key,
        target.kind,
        target.name,
        run.options.label,
        run.mode,
        has_ended=run.has_ended(now),
    )
    fault = state.faults.take(call)
    if fault is not None:
        return fault
    spec = _own_fault(run, route)
    if spec is None or not applies_now(spec, call):
        return None
    if spec.times is not None and run.faults[route] >= spec.times:
        return None
    run.faults[route] += 1
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


def schema(
    state: SandboxState, slug: str, key: str | None, now: float
) -> responses.SandboxResponse:
    """Return the response to a read of a workflow's schema."""
    call = SandboxCall(Route.SCHEMA, key or "", SandboxKind.WORKFLOW, slug)
    reader, fault = _admit_reader(state, call, now)
    require_capability(reader, "workflow:read")
    if not SLUG.fullmatch(slug):
        raise responses.refused("INVALID_SLUG")
    target = CATALOGUE.get((SandboxKind.WORKFLOW, slug))
    reply = documented_reply("HTTP_404") if target is None else json_reply(schema_of(target))
    return responses.apply_after(fault, responses.SendReply(reply))


def workflows(state: SandboxState, key: str | None, now: float) -> responses.SandboxResponse:
    """Return the response to the list of workflows."""
    reader, fault = _admit_reader(state, SandboxCall(Route.WORKFLOWS, key or ""), now)
    require_capability(reader, "workflow:read")
    body = [one.view() for one in state.workflows.values()]
    return responses.apply_after(fault, responses.SendReply(json_reply(body)))


def whoami(state: SandboxState, key: str | None, now: float) -> responses.SandboxResponse:
    """Return the response to whoami: whose key it is; capabilities are not in it."""
    reader, fault = _admit_reader(state, SandboxCall(Route.WHOAMI, key or ""), now)
    user = {
        "id": reader.user.id,
        "email": f"{reader.user.id}@example.com",
        "role": "user",
        "tier": reader.user.tier,
        "approved": reader.user.approved,
    }
    return responses.apply_after(fault, responses.SendReply(json_reply({"user": user})))


def _admit_reader(
    state: SandboxState, call: SandboxCall, now: float
) -> tuple[ApiKey, SandboxFault | None]:
    """Return the key of a call that only reads, and the fault to apply afterwards."""
    caller = state.admit(call.key, None, now)
    fault = state.faults.take(call)
    responses.apply_before(fault)
    return caller.key, fault
