"""A submit: the checks in the provider's order, then the start of the run."""

import re
from dataclasses import dataclass, replace
from typing import Any

from msgspec import UNSET

from worker.sandbox.faults.fault_table import (
    FaultBehaviour,
    FaultError,
    SandboxFault,
    check_fault,
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
from worker.sandbox.provider import responses
from worker.sandbox.provider.accounts import ApiKey
from worker.sandbox.provider.catalogue import CATALOGUE, Field, SandboxKind, SandboxMode, Target
from worker.sandbox.provider.ledger import LabelCounts
from worker.sandbox.provider.limits import SandboxBucket
from worker.sandbox.provider.replies import JsonObject, SandboxReply, json_reply
from worker.sandbox.provider.runs import RunFailure, RunState, SandboxRun
from worker.sandbox.provider.state import Caller, SandboxState, require_capability
from worker.sandbox.provider.tiers import reaches
from worker.sandbox.provider.timers import Delivery

SLUG = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class Submit:
    """A submit as it was received."""

    kind: SandboxKind
    name: str
    mode: SandboxMode
    key: str | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class SubmitBody:
    """The body of a submit, with its fault; `refusal` where it cannot be used."""

    inputs: dict[str, Any]
    options: RunOptions
    fault: SandboxFault | None = None
    refusal: responses.SandboxRefusal | None = None


def submit(state: SandboxState, call: Submit, now: float) -> responses.SandboxResponse:
    """Start a run and return its response; raises `SandboxRefusal` where none starts."""
    body = read_body(call)
    counts = state.ledger.labels[body.options.label]
    counts.posts += 1
    caller = state.admit(call.key, SandboxBucket(call.kind), now)
    fault = _take_fault(state, call, body, counts)
    responses.apply_before(fault)
    if body.refusal is not None:
        raise body.refusal
    check_submit(state, call, body, caller.key)
    return _start_run(state, call, replace(body, fault=fault), caller, now)


def read_body(call: Submit) -> SubmitBody:
    """Return the body; where it cannot be read, with the refusal to send after earlier checks."""
    try:
        inputs = read_inputs(call.raw)
        options = read_options(inputs)
        for spec, route in ((options.poll, Route.POLL), (options.cancel, Route.CANCEL)):
            if spec is not None:
                check_fault(spec, route)
        fault = resolve_fault(options, call.kind, call.name) if options.has_fault() else None
    except (BodyError, FaultError) as error:
        code = error.code if isinstance(error, BodyError) else "INVALID_INPUTS"
        return SubmitBody({}, NO_OPTIONS, refusal=responses.refused(code, detail=str(error)))
    return SubmitBody(inputs, options, fault)


def _take_fault(
    state: SandboxState, call: Submit, body: SubmitBody, counts: LabelCounts
) -> SandboxFault | None:
    """Return the fault of this submit: that of an admin first, else the run's own."""
    options = body.options
    fault = state.faults.take(
        SandboxCall(Route.SUBMIT, call.key or "", call.kind, call.name, options.label, call.mode)
    )
    if fault is not None:
        return fault
    own = body.fault
    if own is None or Route.SUBMIT not in own.default_routes:
        return None
    if own.spec.fault == "ASYNC_NOT_SUPPORTED" and call.mode is not SandboxMode.ASYNC:
        return None
    if options.times is not None and counts.faulted >= options.times:
        return None
    counts.faulted += 1
    return own


def check_submit(state: SandboxState, call: Submit, body: SubmitBody, key: ApiKey) -> None:
    """Raise `SandboxRefusal` for a submit that the provider would not run."""
    if not SLUG.fullmatch(call.name):
        raise responses.refused("INVALID_SLUG")
    require_capability(key, f"{call.kind}:run", call.name)
    target = CATALOGUE.get((call.kind, call.name))
    if target is None:
        raise responses.refused("MODEL_NOT_FOUND" if call.kind is SandboxKind.MODEL else "HTTP_404")
    if not reaches(key.user.tier, target.tier):
        raise responses.refused("MODEL_TIER_REQUIRED", requiredTier=target.tier, tier=key.user.tier)
    if call.mode is SandboxMode.ASYNC and not target.supports_async:
        raise responses.refused("ASYNC_NOT_SUPPORTED")
    wrong = [field.name for field in target.fields if not is_valid_input(field, body.inputs)]
    if wrong:
        raise responses.refused("INVALID_INPUTS", fields=wrong)
    _check_cost(state, key, target, body.options)


def is_valid_input(field: Field, inputs: dict[str, Any]) -> bool:
    """Return whether the inputs satisfy one field of the schema."""
    if field.name not in inputs:
        return not field.required
    kinds = (int, float) if field.type == "number" else (str,)
    return isinstance(inputs[field.name], kinds)


def _check_cost(state: SandboxState, key: ApiKey, target: Target, options: RunOptions) -> None:
    left = state.grant_left(key, target)
    if left is not None:
        if left <= 0:
            raise responses.refused("grant_exhausted", model=target.name)
        return
    cost = target.cost if options.cost is None else options.cost
    available = key.user.credits - key.user.held
    if cost > available:
        raise responses.refused("INSUFFICIENT_CREDITS", required=cost, available=available)


def _start_run(
    state: SandboxState, call: Submit, body: SubmitBody, caller: Caller, now: float
) -> responses.SandboxResponse:
    run = _new_run(state, call, body, caller.key, now)
    fault = body.fault
    early: tuple[Delivery, ...] = ()
    if fault is not None:
        run.apply_fault(fault, now)
    state.runs[run.id] = run
    state.usage.add_run(run)
    state.ledger.labels[body.options.label].started += 1
    state.reserve(run)
    if run.mode is SandboxMode.ASYNC and _delivers_early(state, run):
        run.ends_at = now
        early = tuple(delivery for delivery, _ in state.finalize(run, now))
    else:
        state.schedule_settlement(run)
    if call.mode is SandboxMode.SYNC:
        return responses.apply_after(fault, responses.FinishSync(run, headers=caller.headers))
    reply = (
        finished_reply(state, run, now)
        if run.mode is SandboxMode.SYNC
        else accepted_reply(run, fault)
    )
    response = responses.apply_after(
        fault, responses.SendReply(reply.with_headers(caller.headers), webhooks_first=early)
    )
    if not (isinstance(response, responses.SendReply) and response.webhooks_first):
        for delivery in early:
            state.timers.push(now, delivery)
    return response


def _new_run(
    state: SandboxState, call: Submit, body: SubmitBody, key: ApiKey, now: float
) -> SandboxRun:
    target = CATALOGUE[call.kind, call.name]
    options = body.options
    takes_s = state.duration_of(target) if options.duration_s is None else options.duration_s
    uses_grant = state.grant_left(key, target) is not None
    price = target.cost if options.cost is None else options.cost
    run_id = state.new_id()
    return SandboxRun(
        id=run_id,
        request_id=f"{target.backend}_{run_id[-12:]}",
        target=target,
        key=key,
        mode=call.mode,
        cost=0 if uses_grant else price,
        started_at=now,
        ends_at=now + takes_s,
        options=options,
        uses_grant=uses_grant,
    )


def _delivers_early(state: SandboxState, run: SandboxRun) -> bool:
    if run.key.hook is None or run.ends_at == float("inf"):
        return False
    early = None if run.options.webhook is None else run.options.webhook.early
    return state.draw_chance(run.key.hook.early) if early is None else early


def accepted_reply(run: SandboxRun, fault: SandboxFault | None) -> SandboxReply:
    """Return the response to an accepted async submit."""
    hook = run.key.hook
    delivery: JsonObject = {"configured": hook is not None}
    if hook is not None:
        delivery["url"] = hook.url
    body: JsonObject = {
        "_async": True,
        "executionId": run.id,
        "requestId": run.request_id,
        "status": RunState.PROCESSING,
        "webhookDelivery": delivery,
        "pollUrl": f"/api/executions/{run.id}",
    }
    if fault is not None and fault.behaviour is FaultBehaviour.ID_MISSING:
        del body["executionId"]
        body["pollUrl"] = "/api/executions"
    return json_reply(body)


def finished_reply(state: SandboxState, run: SandboxRun, now: float) -> SandboxReply:
    """Return the response to a sync run that has ended."""
    state.settle(run, now)
    if run.end is not RunState.COMPLETED:
        failure = run.failure or RunFailure("EXECUTION_FAILED", "The run was cancelled")
        return json_reply({"error": failure.message, "code": failure.code}, 500)
    if run.reported_at is None:
        run.reported_at = now
    took_ms = round((run.ends_at - run.started_at) * 1000)
    result = None if run.result() is UNSET else run.result()
    return json_reply({"success": True, "result": result, "cost": run.cost, "ms": took_ms})
