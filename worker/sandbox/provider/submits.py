"""A run is asked for: the checks in the provider's order, then the start."""

import re
from dataclasses import dataclass, replace
from typing import Any

from msgspec import UNSET

from worker.sandbox.faults.catalogue import (
    FaultBehaviour,
    FaultError,
    SandboxFault,
    check_fault,
    refusal,
    resolve_fault,
)
from worker.sandbox.faults.options import (
    NO_OPTIONS,
    BodyError,
    Route,
    RunOptions,
    read_inputs,
    read_options,
)
from worker.sandbox.faults.queue import SandboxCall
from worker.sandbox.provider.accounts import ApiKey
from worker.sandbox.provider.catalogue import CATALOGUE, Field, SandboxKind, SandboxMode, Target
from worker.sandbox.provider.ledger import LabelCounts
from worker.sandbox.provider.limits import SandboxBucket
from worker.sandbox.provider.replies import (
    JsonObject,
    SandboxAccepted,
    SandboxFinished,
    SandboxReply,
    json_reply,
)
from worker.sandbox.provider.responses import (
    FinishSync,
    SandboxResponse,
    SendReply,
    garble_reply,
    response_after,
    response_before,
)
from worker.sandbox.provider.runs import RunEnd, RunFailure, RunState, SandboxRun
from worker.sandbox.provider.state import Caller, SandboxState, denied
from worker.sandbox.provider.tiers import reaches
from worker.sandbox.provider.timers import Delivery

SLUG = re.compile(r"[a-z0-9-]+")
_BUCKETS = {SandboxKind.MODEL: SandboxBucket.MODEL, SandboxKind.WORKFLOW: SandboxBucket.WORKFLOW}


@dataclass(frozen=True, slots=True)
class Submit:
    """A request to run something, as it came in."""

    kind: SandboxKind
    name: str
    mode: SandboxMode
    key: str | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class SubmitBody:
    """What the body of a submit says, with its fault. `refused`: it says nothing usable."""

    inputs: dict[str, Any]
    options: RunOptions
    fault: SandboxFault | None = None
    refusal: SandboxReply | None = None


def submit(state: SandboxState, call: Submit, now: float) -> SandboxResponse:
    """Decide on a submit, and start the run unless something forbids it."""
    order = read_body(call)
    entry = state.ledger.labels[order.options.label]
    entry.posts += 1
    caller = state.admit(call.key, _BUCKETS[call.kind], now)
    if isinstance(caller, SandboxReply):
        return SendReply(caller)
    fault = _take_fault(state, call, order, entry)
    struck = None if fault is None else response_before(fault)
    if struck is not None:
        return struck
    refused = order.refusal or find_refusal(state, call, order, caller.key)
    if refused is not None:
        return SendReply(refused)
    return _start_run(state, call, replace(order, fault=fault), caller, now)


def read_body(call: Submit) -> SubmitBody:
    """Read the body; what cannot be read becomes a refusal, to be spoken in its turn."""
    try:
        inputs = read_inputs(call.raw)
        knobs = read_options(inputs)
        for spec, route in ((knobs.poll, Route.POLL), (knobs.cancel, Route.CANCEL)):
            if spec is not None:
                check_fault(spec, route)
        fault = resolve_fault(knobs, call.kind, call.name) if knobs.has_fault() else None
    except BodyError as error:
        return SubmitBody({}, NO_OPTIONS, refusal=refusal(error.code, detail=str(error)))
    except FaultError as error:
        return SubmitBody({}, NO_OPTIONS, refusal=refusal("INVALID_INPUTS", detail=str(error)))
    return SubmitBody(inputs, knobs, fault)


def _take_fault(
    state: SandboxState, call: Submit, body: SubmitBody, counts: LabelCounts
) -> SandboxFault | None:
    """Return the fault of this submit: an admin's first, else the run's own."""
    knobs = body.options
    place = SandboxCall(Route.SUBMIT, call.key or "", call.kind, call.name, knobs.label, call.mode)
    fault = state.faults.take(place)
    if fault is not None:
        return fault
    own = body.fault
    if own is None or Route.SUBMIT not in own.default_routes:
        return None
    if own.spec.fault == "ASYNC_NOT_SUPPORTED" and call.mode is not SandboxMode.ASYNC:
        return None
    if knobs.times is not None and counts.faulted >= knobs.times:
        return None
    counts.faulted += 1
    return own


def find_refusal(
    state: SandboxState, call: Submit, body: SubmitBody, key: ApiKey
) -> SandboxReply | None:
    """Return why the provider would not run this, or None."""
    if not SLUG.fullmatch(call.name):
        return refusal("INVALID_SLUG")
    missing = key.missing_capability(f"{call.kind}:run", call.name)
    if missing is not None:
        return denied(key, missing)
    target = CATALOGUE.get((call.kind, call.name))
    if target is None:
        return refusal("MODEL_NOT_FOUND" if call.kind is SandboxKind.MODEL else "HTTP_404")
    if not reaches(key.user.tier, target.tier):
        return refusal("MODEL_TIER_REQUIRED", requiredTier=target.tier, tier=key.user.tier)
    if call.mode is SandboxMode.ASYNC and not target.supports_async:
        return refusal("ASYNC_NOT_SUPPORTED")
    wrong = [field.name for field in target.fields if not is_valid_input(field, body.inputs)]
    if wrong:
        return refusal("INVALID_INPUTS", fields=wrong)
    return _find_cost_refusal(state, key, target, body.options)


def is_valid_input(field: Field, inputs: dict[str, Any]) -> bool:
    """Tell whether the inputs satisfy one field of the schema."""
    if field.name not in inputs:
        return not field.required
    kinds = (int, float) if field.type == "number" else (str,)
    return isinstance(inputs[field.name], kinds)


def _find_cost_refusal(
    state: SandboxState, key: ApiKey, target: Target, options: RunOptions
) -> SandboxReply | None:
    left = state.grant_left(key, target)
    if left is not None:
        return refusal("grant_exhausted", model=target.name) if left <= 0 else None
    cost = target.cost if options.cost is None else options.cost
    available = key.user.credits - key.user.held
    if cost > available:
        return refusal("INSUFFICIENT_CREDITS", required=cost, available=available)
    return None


def _start_run(
    state: SandboxState, call: Submit, body: SubmitBody, caller: Caller, now: float
) -> SandboxResponse:
    run = _new_run(state, call, body, caller.key, now)
    fault = body.fault
    first: tuple[Delivery, ...] = ()
    if fault is not None:
        apply_fault(run, fault, now)
    state.runs[run.id] = run
    state.ledger.labels[body.options.label].started += 1
    state.reserve(run)
    if run.mode is SandboxMode.ASYNC and _delivers_early(state, run):
        run.ends_at = now
        first = tuple(delivery for delivery, _ in state.finalize(run, now))
    else:
        state.schedule_settlement(run)
    if call.mode is SandboxMode.SYNC:
        return response_after(fault, FinishSync(run, headers=caller.headers))
    reply = (
        finished_reply(state, run, now)
        if run.mode is SandboxMode.SYNC
        else accepted_reply(run, fault)
    )
    verdict = response_after(
        fault, SendReply(reply.with_headers(caller.headers), webhooks_first=first)
    )
    if not (isinstance(verdict, SendReply) and verdict.webhooks_first):
        for delivery in first:
            state.timers.push(now, delivery)
    return verdict


def _new_run(
    state: SandboxState, call: Submit, body: SubmitBody, key: ApiKey, now: float
) -> SandboxRun:
    target = CATALOGUE[call.kind, call.name]
    knobs = body.options
    lasts = state.duration_of(target) if knobs.duration_s is None else knobs.duration_s
    by_grant = state.grant_left(key, target) is not None
    price = target.cost if knobs.cost is None else knobs.cost
    run_id = state.new_id()
    return SandboxRun(
        id=run_id,
        request_id=f"{target.backend}_{run_id[-12:]}",
        target=target,
        key=key,
        mode=call.mode,
        cost=0 if by_grant else price,
        started_at=now,
        ends_at=now + lasts,
        options=knobs,
        uses_grant=by_grant,
    )


def apply_fault(run: SandboxRun, fault: SandboxFault, now: float) -> None:
    """Give a new run the fate its fault wants; faults of other kinds change nothing."""
    spec = fault.spec
    if fault.behaviour is FaultBehaviour.STUCK:
        run.ends_at = float("inf")
    elif fault.behaviour is FaultBehaviour.FAILS:
        run.end = RunEnd.FAILED
        message = spec.message or "The provider could not finish the run"
        run.failure = RunFailure(spec.code or "EXECUTION_FAILED", message, spec.error == "string")
    elif fault.behaviour is FaultBehaviour.NO_RESULT:
        run.no_result = spec
    elif fault.behaviour is FaultBehaviour.SYNC_ANSWER:
        run.mode = SandboxMode.SYNC
        run.ends_at = now


def _delivers_early(state: SandboxState, run: SandboxRun) -> bool:
    if run.key.hook is None or run.ends_at == float("inf"):
        return False
    asked = None if run.options.webhook is None else run.options.webhook.early
    return state.draw_chance(run.key.hook.early) if asked is None else asked


def accepted_reply(run: SandboxRun, fault: SandboxFault | None) -> SandboxReply:
    """Return the answer to an accepted async submit."""
    hook = run.key.hook
    hooked: JsonObject = {"configured": hook is not None}
    if hook is not None:
        hooked["url"] = hook.url
    bare = fault is not None and fault.behaviour is FaultBehaviour.ID_MISSING
    return json_reply(
        SandboxAccepted(
            is_async=True,
            execution_id=UNSET if bare else run.id,
            request_id=run.request_id,
            status=RunState.PROCESSING,
            webhook_delivery=hooked,
            poll_url="/api/executions" if bare else f"/api/executions/{run.id}",
        )
    )


def finished_reply(state: SandboxState, run: SandboxRun, now: float) -> SandboxReply:
    """Return the answer to a sync run that has ended."""
    state.settle(run, now)
    if run.end is not RunEnd.COMPLETED:
        failure = run.failure or RunFailure("EXECUTION_FAILED", "The run was cancelled")
        return json_reply({"error": failure.message, "code": failure.code}, 500)
    if run.reported_at is None:
        run.reported_at = now
    spent_ms = round((run.ends_at - run.started_at) * 1000)
    result = None if run.result() is UNSET else run.result()
    return json_reply(SandboxFinished(success=True, result=result, cost=run.cost, ms=spent_ms))


def finished_sync_reply(state: SandboxState, response: FinishSync, now: float) -> SandboxReply:
    """Return the answer a waiting sync caller gets at the end of the run."""
    reply = finished_reply(state, response.run, now)
    return garble_reply(response.fault, reply.with_headers(response.headers))
