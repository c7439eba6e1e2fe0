"""Why a job is not running: what stands in its way, in the order a person should look."""

from dataclasses import dataclass
from typing import Final

from jobs.holds import Gates, Hold, HoldPhase
from jobs.job import Job
from jobs.rate_limits import URGENT_RESERVE, WINDOW_S, RateLimitBucket, wait_s
from jobs.states import State

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
UNKNOWN_BUCKET: Final = RateLimitBucket()


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing that a job waits for."""

    kind: str
    """`schedule`, `backoff`, `hold`, `cool_down`, `cap`, `line`, `person` or `no_worker`."""
    text: str
    action: str = ""
    hold_id: str | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class WhyContext:
    """What a job's wait depends on beside its own record."""

    gates: Gates
    ahead_in_lane: int | None = None
    """Jobs before it in its lane."""
    ahead_on_route: int = 0
    """Jobs before it on its route: those of its lane, and the turns of others."""
    bucket: RateLimitBucket = UNKNOWN_BUCKET
    """The rate limit of its route."""
    window_s: float = WINDOW_S
    active: int = 0
    cap: int | None = None
    workers: int = 0


def why_not_running(job: Job, context: WhyContext, now: float) -> tuple[Blocker, ...]:
    """Everything that keeps a job from running; empty when nothing does."""
    match job.state:
        case State.SCHEDULED:
            return (
                Blocker("schedule", "scheduled for later", until=job.due_at),
                *_gates(job, context, now),
            )
        case State.RETRYING:
            code = job.reason.code if job.reason else "a fault"
            text = f"attempt {job.spent} of {job.max_attempts} failed with {code}, backoff running"
            return (Blocker("backoff", text, until=job.due_at), *_gates(job, context, now))
        case State.QUEUED:
            return (*_gates(job, context, now), *_lane_blockers(context, now))
        case State.PARKED:
            return (_operator(job, "parked"), *_gates(job, context, now))
        case State.DEAD:
            return (_operator(job, "a dead letter"),)
        case State.SUBMITTING | State.RUNNING | State.CANCELLING:
            return ()
        case State.SUCCEEDED | State.CANCELLED:
            return ()


def _operator(job: Job, what: str) -> Blocker:
    reason = job.reason
    if reason is None:
        return Blocker("person", f"{what}, waits for a person")
    text = f"{what}: {reason.code}" + (f" – {reason.message}" if reason.message else "")
    return Blocker("person", text, reason.action, reason.hold_id)


def _gates(job: Job, context: WhyContext, now: float) -> tuple[Blocker, ...]:
    found: list[Blocker] = []
    closed = context.gates.closing_hold(job.lane)
    if closed is not None and not job.bypass_hold:
        found.append(_hold(closed))
    found += [_hold(hold) for hold in context.gates.opening_holds(job.lane)]
    if (cooling := context.gates.running_cool_down(job.lane.scopes, now)) is not None:
        text = f"{cooling.scope} waits: {cooling.why}"
        found.append(Blocker("cool_down", text, until=cooling.until))
    return tuple(found)


def _hold(hold: Hold) -> Blocker:
    if hold.phase is HoldPhase.OPENING:
        text = f"hold on {hold.scope} ({hold.code}) is opening, {hold.step} at once"
        return Blocker("hold", text, hold_id=hold.id)
    text = f"hold on {hold.scope}: {hold.code}" + (f" – {hold.message}" if hold.message else "")
    return Blocker("hold", text, hold.action, hold.id)


def _lane_blockers(context: WhyContext, now: float) -> tuple[Blocker, ...]:
    found: list[Blocker] = []
    if context.workers == 0:
        found.append(
            Blocker("no_worker", "no worker is running", "Start one: knouds-worker worker")
        )
    if context.cap is not None and context.active >= context.cap:
        found.append(Blocker("cap", f"its lane runs {context.active} of at most {context.cap}"))
    if context.ahead_in_lane is not None:
        found.append(_queue_position(context, now))
    return tuple(found)


def _queue_position(context: WhyContext, now: float) -> Blocker:
    text = f"{context.ahead_in_lane} jobs before it in its lane"
    others = context.ahead_on_route - (context.ahead_in_lane or 0)
    if others > 0:
        text += f" and {others} in others of its route"
    wait = wait_s(context.bucket, context.ahead_on_route, now, context.window_s)
    if wait is None or context.bucket.limit is None:
        return Blocker("line", text)
    rate = f"{max(1, context.bucket.limit - URGENT_RESERVE)} per {context.window_s:g} s"
    when = f"about {format_duration(wait)}" if wait > 0 else "its turn is now"
    return Blocker("line", f"{text}: {when} at {rate}", until=now + wait if wait > 0 else None)


def format_duration(seconds: float) -> str:
    """A length of time, roughly: `37 min`."""
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{seconds / HOUR_S:.1f} h"
