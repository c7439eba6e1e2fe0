"""A run is asked for: the checks in the provider's order, then the start."""

import re
from dataclasses import dataclass, replace
from typing import Any

from msgspec import UNSET

from worker.sandbox.faults.catalogue import Act, Fault, FaultError, check, refusal, resolve
from worker.sandbox.faults.options import NO_KNOBS, BodyError, Knobs, Route, read_inputs, read_knobs
from worker.sandbox.faults.queue import Call
from worker.sandbox.provider.accounts import ApiKey
from worker.sandbox.provider.catalogue import CATALOGUE, Field, Kind, Mode, Target
from worker.sandbox.provider.ledger import LabelEntry
from worker.sandbox.provider.limits import Bucket
from worker.sandbox.provider.replies import Accepted, Finished, JsonObject, Reply, json_reply
from worker.sandbox.provider.responses import Answer, Finish, Verdict, after, before, garble
from worker.sandbox.provider.runs import End, Failure, Run, State
from worker.sandbox.provider.state import Caller, World, denied
from worker.sandbox.provider.tiers import reaches
from worker.sandbox.provider.timers import Delivery

SLUG = re.compile(r"[a-z0-9-]+")
_BUCKETS = {Kind.MODEL: Bucket.MODEL, Kind.WORKFLOW: Bucket.WORKFLOW}


@dataclass(frozen=True, slots=True)
class Submit:
    """A request to run something, as it came in."""

    kind: Kind
    name: str
    mode: Mode
    key: str | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Order:
    """What the body of a submit says, with its fault. `refused`: it says nothing usable."""

    inputs: dict[str, Any]
    knobs: Knobs
    fault: Fault | None = None
    refused: Reply | None = None


def submit(world: World, call: Submit, now: float) -> Verdict:
    """Decide on a submit, and start the run unless something forbids it."""
    order = read_order(call)
    entry = world.ledger.labels[order.knobs.label]
    entry.posts += 1
    caller = world.admit(call.key, _BUCKETS[call.kind], now)
    if isinstance(caller, Reply):
        return Answer(caller)
    fault = _draw_fault(world, call, order, entry)
    struck = None if fault is None else before(fault)
    if struck is not None:
        return struck
    refused = order.refused or find_refusal(world, call, order, caller.key)
    if refused is not None:
        return Answer(refused)
    return _start(world, call, replace(order, fault=fault), caller, now)


def read_order(call: Submit) -> Order:
    """Read the body; what cannot be read becomes a refusal, to be spoken in its turn."""
    try:
        inputs = read_inputs(call.raw)
        knobs = read_knobs(inputs)
        for spec, route in ((knobs.poll, Route.POLL), (knobs.cancel, Route.CANCEL)):
            if spec is not None:
                check(spec, route)
        fault = resolve(knobs, call.kind, call.name) if knobs.named() else None
    except BodyError as error:
        return Order({}, NO_KNOBS, refused=refusal(error.code, detail=str(error)))
    except FaultError as error:
        return Order({}, NO_KNOBS, refused=refusal("INVALID_INPUTS", detail=str(error)))
    return Order(inputs, knobs, fault)


def _draw_fault(world: World, call: Submit, order: Order, entry: LabelEntry) -> Fault | None:
    """Return the fault of this submit: an admin's first, else the run's own."""
    knobs = order.knobs
    place = Call(Route.SUBMIT, call.key or "", call.kind, call.name, knobs.label, call.mode)
    fault = world.faults.draw(place)
    if fault is not None:
        return fault
    own = order.fault
    if own is None or Route.SUBMIT not in own.home:
        return None
    if own.spec.fault == "ASYNC_NOT_SUPPORTED" and call.mode is not Mode.ASYNC:
        return None
    if knobs.times is not None and entry.faulted >= knobs.times:
        return None
    entry.faulted += 1
    return own


def find_refusal(world: World, call: Submit, order: Order, key: ApiKey) -> Reply | None:
    """Return why the provider would not run this, or None."""
    if not SLUG.fullmatch(call.name):
        return refusal("INVALID_SLUG")
    missing = key.missing(f"{call.kind}:run", call.name)
    if missing is not None:
        return denied(key, missing)
    target = CATALOGUE.get((call.kind, call.name))
    if target is None:
        return refusal("MODEL_NOT_FOUND" if call.kind is Kind.MODEL else "HTTP_404")
    if not reaches(key.user.tier, target.tier):
        return refusal("MODEL_TIER_REQUIRED", requiredTier=target.tier, tier=key.user.tier)
    if call.mode is Mode.ASYNC and not target.runs_async:
        return refusal("ASYNC_NOT_SUPPORTED")
    wrong = [field.name for field in target.fields if not fits(field, order.inputs)]
    if wrong:
        return refusal("INVALID_INPUTS", fields=wrong)
    return _unpaid(world, key, target, order.knobs)


def fits(field: Field, inputs: dict[str, Any]) -> bool:
    """Tell whether the inputs satisfy one field of the schema."""
    if field.name not in inputs:
        return not field.required
    kinds = (int, float) if field.type == "number" else (str,)
    return isinstance(inputs[field.name], kinds)


def _unpaid(world: World, key: ApiKey, target: Target, knobs: Knobs) -> Reply | None:
    left = world.grant_left(key, target)
    if left is not None:
        return refusal("grant_exhausted", model=target.name) if left <= 0 else None
    cost = target.cost if knobs.cost is None else knobs.cost
    available = key.user.credits - key.user.held
    if cost > available:
        return refusal("INSUFFICIENT_CREDITS", required=cost, available=available)
    return None


def _start(world: World, call: Submit, order: Order, caller: Caller, now: float) -> Verdict:
    run = _new_run(world, call, order, caller.key, now)
    fault = order.fault
    first: tuple[Delivery, ...] = ()
    if fault is not None:
        bend(run, fault, now)
    world.runs[run.id] = run
    world.ledger.labels[order.knobs.label].started += 1
    world.reserve(run)
    if run.mode is Mode.ASYNC and _is_early(world, run):
        run.ends_at = now
        first = tuple(delivery for delivery, _ in world.close(run, now))
    else:
        world.watch(run)
    if call.mode is Mode.SYNC:
        return after(fault, Finish(run, headers=caller.headers))
    reply = finish(world, run, now) if run.mode is Mode.SYNC else accept(run, fault)
    verdict = after(fault, Answer(reply.with_headers(caller.headers), first=first))
    if not (isinstance(verdict, Answer) and verdict.first):
        for delivery in first:
            world.agenda.push(now, delivery)
    return verdict


def _new_run(world: World, call: Submit, order: Order, key: ApiKey, now: float) -> Run:
    target = CATALOGUE[call.kind, call.name]
    knobs = order.knobs
    lasts = world.duration_of(target) if knobs.duration_s is None else knobs.duration_s
    by_grant = world.grant_left(key, target) is not None
    price = target.cost if knobs.cost is None else knobs.cost
    run_id = world.new_id()
    return Run(
        id=run_id,
        request_id=f"{target.backend}_{run_id[-12:]}",
        target=target,
        key=key,
        mode=call.mode,
        cost=0 if by_grant else price,
        started_at=now,
        ends_at=now + lasts,
        knobs=knobs,
        by_grant=by_grant,
    )


def bend(run: Run, fault: Fault, now: float) -> None:
    """Give a new run the fate its fault wants; faults of other kinds change nothing."""
    spec = fault.spec
    if fault.act is Act.STUCK:
        run.ends_at = float("inf")
    elif fault.act is Act.FAILS:
        run.end = End.FAILED
        message = spec.message or "The provider could not finish the run"
        run.failure = Failure(spec.code or "EXECUTION_FAILED", message, spec.error == "string")
    elif fault.act is Act.NO_RESULT:
        run.no_result = spec
    elif fault.act is Act.SYNC_ANSWER:
        run.mode = Mode.SYNC
        run.ends_at = now


def _is_early(world: World, run: Run) -> bool:
    if run.key.hook is None or run.ends_at == float("inf"):
        return False
    asked = None if run.knobs.webhook is None else run.knobs.webhook.early
    return world.drawn(run.key.hook.early) if asked is None else asked


def accept(run: Run, fault: Fault | None) -> Reply:
    """Return the answer to an accepted async submit."""
    hook = run.key.hook
    hooked: JsonObject = {"configured": hook is not None}
    if hook is not None:
        hooked["url"] = hook.url
    bare = fault is not None and fault.act is Act.ID_MISSING
    return json_reply(
        Accepted(
            is_async=True,
            execution_id=UNSET if bare else run.id,
            request_id=run.request_id,
            status=State.PROCESSING,
            webhook_delivery=hooked,
            poll_url="/api/executions" if bare else f"/api/executions/{run.id}",
        )
    )


def finish(world: World, run: Run, now: float) -> Reply:
    """Return the answer to a sync run that has ended."""
    world.settle(run, now)
    if run.end is not End.COMPLETED:
        failure = run.failure or Failure("EXECUTION_FAILED", "The run was cancelled")
        return json_reply({"error": failure.message, "code": failure.code}, 500)
    if run.seen_at is None:
        run.seen_at = now
    spent_ms = round((run.ends_at - run.started_at) * 1000)
    result = None if run.result() is UNSET else run.result()
    return json_reply(Finished(success=True, result=result, cost=run.cost, ms=spent_ms))


def finish_sync(world: World, verdict: Finish, now: float) -> Reply:
    """Return the answer a waiting sync caller gets at the end of the run."""
    reply = finish(world, verdict.run, now)
    return garble(verdict.fault, reply.with_headers(verdict.headers))
