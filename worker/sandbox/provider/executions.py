"""A run is followed: poll and cancel; and the two calls that only read."""

from dataclasses import dataclass

from worker.sandbox.faults.catalogue import Act, Fault, refusal, resolve
from worker.sandbox.faults.options import FaultSpec, Route
from worker.sandbox.faults.queue import Call
from worker.sandbox.provider.catalogue import CATALOGUE, Kind, schema_of
from worker.sandbox.provider.limits import Bucket
from worker.sandbox.provider.replies import Reply, json_reply
from worker.sandbox.provider.responses import Answer, Verdict, after, before
from worker.sandbox.provider.runs import End, Run, view
from worker.sandbox.provider.state import World, denied
from worker.sandbox.provider.submits import SLUG


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller who may see the run, and the fault that strikes the call after it took effect."""

    run: Run
    headers: dict[str, str]
    fault: Fault | None


def poll(world: World, execution_id: str, key: str | None, now: float) -> Verdict:
    """Decide on a poll."""
    run = world.runs.get(execution_id)
    if run is not None:
        run.polls += 1
        world.ledger.labels[run.knobs.label].polls += 1
    found = _find(world, Route.POLL, run, key, now)
    if not isinstance(found, Admitted):
        return found
    run, fault = found.run, found.fault
    world.settle(run, now)
    odd = fault.spec.status_text if fault is not None and fault.act is Act.STATUS_UNKNOWN else None
    if fault is None and run.seen_at is None and run.ended(now):
        run.seen_at = now
    return after(fault, Answer(json_reply(view(run, now, odd), headers=found.headers)))


def cancel(world: World, execution_id: str, key: str | None, now: float) -> Verdict:
    """Decide on a cancel; a run that has ended stays as it is, and the answer says so."""
    run = world.runs.get(execution_id)
    if run is not None:
        world.ledger.labels[run.knobs.label].cancels += 1
    found = _find(world, Route.CANCEL, run, key, now)
    if not isinstance(found, Admitted):
        return found
    run = found.run
    if not run.ended(now):
        asked = run.knobs.cancel_s
        takes_s = world.config.cancel_s / world.config.speed if asked is None else asked
        run.request_cancel(now, takes_s, _end_of_cancel(found.fault))
        world.watch(run)
    answer = {"executionId": run.id, "requestId": run.request_id, "status": run.state(now)}
    return after(found.fault, Answer(json_reply(answer, headers=found.headers)))


def _end_of_cancel(fault: Fault | None) -> End:
    if fault is not None and fault.act is Act.CANCEL_FINISHED:
        return End.CANCELLED_WITH_RESULT
    if fault is not None and fault.act is Act.CANCEL_COMPLETED:
        return End.COMPLETED
    return End.CANCELLED


def _find(
    world: World, route: Route, run: Run | None, key: str | None, now: float
) -> Admitted | Verdict:
    """Let a caller in to a run, or return what they get instead."""
    caller = world.admit(key, Bucket.EXECUTION, now)
    if isinstance(caller, Reply):
        return Answer(caller)
    fault = _draw_fault(world, route, run, key or "")
    struck = None if fault is None else before(fault)
    if struck is not None:
        return struck
    right = "execution:read" if route is Route.POLL else "execution:cancel"
    missing = caller.key.missing(right)
    if missing is not None:
        return Answer(denied(caller.key, missing))
    if run is None or run.key.user is not caller.key.user:
        return Answer(refusal("EXECUTION_NOT_FOUND"))
    return Admitted(run, dict(caller.headers), fault)


def _draw_fault(world: World, route: Route, run: Run | None, key: str) -> Fault | None:
    """Return the fault of this poll or cancel: an admin's first, else the run's own."""
    if run is None:
        return world.faults.draw(Call(route, key))
    target = run.target
    call = Call(route, key, target.kind, target.name, run.knobs.label, run.mode)
    fault = world.faults.draw(call)
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
    return resolve(spec, target.kind, target.name)


def _own_fault(run: Run, route: Route) -> FaultSpec | None:
    """Return what the run's inputs ask for on `route`; a fault at home only there counts too."""
    knobs = run.knobs
    spec = knobs.poll if route is Route.POLL else knobs.cancel
    if spec is not None or not knobs.named():
        return spec
    home = resolve(knobs, run.target.kind, run.target.name).home
    return knobs if route in home and Route.SUBMIT not in home else None


def schema(world: World, slug: str, key: str | None, now: float) -> Verdict:
    """Decide on a look at a workflow's schema."""
    caller = world.admit(key, None, now)
    if isinstance(caller, Reply):
        return Answer(caller)
    fault = world.faults.draw(Call(Route.SCHEMA, key or "", Kind.WORKFLOW, slug))
    struck = None if fault is None else before(fault)
    if struck is not None:
        return struck
    missing = caller.key.missing("workflow:read")
    if missing is not None:
        return Answer(denied(caller.key, missing))
    if not SLUG.fullmatch(slug):
        return Answer(refusal("INVALID_SLUG"))
    target = CATALOGUE.get((Kind.WORKFLOW, slug))
    reply = refusal("HTTP_404") if target is None else json_reply(schema_of(target))
    return after(fault, Answer(reply))


def whoami(world: World, key: str | None, now: float) -> Verdict:
    """Decide on a key's question who it is."""
    caller = world.admit(key, None, now)
    if isinstance(caller, Reply):
        return Answer(caller)
    fault = world.faults.draw(Call(Route.WHOAMI, key or ""))
    struck = None if fault is None else before(fault)
    if struck is not None:
        return struck
    user = caller.key.user
    rights = sorted(caller.key.held())
    answer = json_reply({"userId": user.id, "tier": user.tier, "capabilities": rights})
    return after(fault, Answer(answer))
