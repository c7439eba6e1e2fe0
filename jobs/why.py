"""Why a job is not running: its blockers, in the order in which an operator should check them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from jobs.breakers import Breaker
from jobs.breakers.texts import advice_text, breaker_text, limits_submits
from jobs.dependencies.parents import ParentsState, assess_parents, is_stuck
from jobs.effects import PollHistory
from jobs.fairness import FairPlace
from jobs.holds import Canary, Gates, Hold, HoldPhase
from jobs.job import EXPIRED, Job
from jobs.lanes import covers
from jobs.rate_limits import URGENT_RESERVE, WINDOW_S, RateLimitBucket, wait_s
from jobs.start_by import expires_at
from jobs.states import SETTLED_OR_PARKED, State
from jobs.texts import pluralize

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
NO_POLLS: Final = PollHistory()
ACTION_DRAINED: Final = (
    "Start another one (knouds-worker worker), or undo a drain: knouds-worker drain --undo WORKER"
)
"""What to do where no worker takes jobs because they are drained."""
ACTION_OF_PARENTS: Final = "Decide about the jobs that it waits for: it follows by itself"
"""What to do where a parent is parked or a dead letter."""
UNKNOWN_BUCKET: Final = RateLimitBucket()
"""The bucket of a route whose limit is not known yet."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing that a job waits for. Texts are for the operator."""

    kind: str
    """`schedule`, `parent`, `backoff`, `hold`, `breaker`, `cool_down`, `budget`, `cap`, `key_cap`,
    `line`,
    `person`, `polls`, `no_worker`, `worker`, `redis`, `start_by` or `newer_schema`."""
    text: str
    action: str = ""
    """What the operator can do about it; empty where nothing needs to be done."""
    hold_id: str | None = None
    until: float | None = None
    """When it is expected to end, Unix seconds."""
    breaker: Breaker | None = None


@dataclass(frozen=True, slots=True)
class WhyContext:
    """What the wait of a job depends on beside its own record."""

    gates: Gates
    ahead_in_lane: int | None = None
    """Jobs before it in its lane."""
    ahead_on_route: int = 0
    """Jobs before it on its route: those of its lane, and of the lanes that take turns with it."""
    bucket: RateLimitBucket = UNKNOWN_BUCKET
    """The rate limit of its route."""
    window_s: float = WINDOW_S
    """Length of the rate-limit window."""
    active: int = 0
    """Jobs of its lane that count against the cap."""
    cap: int | None = None
    """Concurrency cap of its lane; None where there is none."""
    fair_place: FairPlace | None = None
    """Where it waits in a lane whose jobs have fair keys; None in another one."""
    workers: int = 0
    """Workers that are alive and were not told to take no more jobs."""
    stopped_workers: Blocker | None = None
    """What keeps every one of them from submitting."""
    redis_refusal: Blocker | None = None
    """What Redis refuses. Workers cannot write heartbeats then: `workers` says nothing."""
    drained_workers: int = 0
    """Workers that an operator took out of service."""
    poll_history: PollHistory = NO_POLLS
    """What the polls of its run said."""
    poll_failure: str = ""
    """Why polls of a worker get no answer; empty while they do."""
    budgets: tuple[Blocker, ...] = ()
    """What budgets keep it from being admitted, if it is queued."""
    parents: tuple[Blocker, ...] = ()
    """What it waits for if it is `waiting`: jobs that have not succeeded, or its time."""
    waits_for_poll: bool = False
    """Submits of its account wait until a poll of one of its runs is answered."""


def why_not_running(job: Job, context: WhyContext, now: float) -> tuple[Blocker, ...]:
    """The blockers of a job, those it has to wait out first; empty if nothing keeps it waiting."""
    refusal, found = context.redis_refusal, _waits(job, context, now)
    return found if refusal is None or job.state in SETTLED_OR_PARKED else (refusal, *found)


def _waits(job: Job, context: WhyContext, now: float) -> tuple[Blocker, ...]:
    """What the job waits for, where Redis takes what is written."""
    match job.state:
        case State.SCHEDULED | State.RETRYING:
            gates = (*_late(job, context, now), *_gates(job, context, now))
            return (_time(job, now), *gates, *_expiry(job, now))
        case State.WAITING:
            return (*(context.parents or _workers(context)), *_expiry(job, now))
        case State.QUEUED:
            gates = (*_gates(job, context, now), *context.budgets)
            return (*gates, *_lane_blockers(context, now), *_expiry(job, now))
        case State.PARKED:
            return (_operator(job, "parked"), *_gates(job, context, now))
        case State.DEAD:
            return (_operator(job, "a dead letter"),)
        case State.RUNNING | State.CANCELLING if job.execution_id and context.poll_failure:
            text = f"polls get no answer: {context.poll_failure}"
            return (Blocker("polls", text, "Nothing: it is paid for, and polled again by itself"),)
        case State.RUNNING | State.CANCELLING if job.execution_id is not None:
            return _polls(job, context)
        case State.SUBMITTING if job.sent_at is None:
            return _stopped(context)
        case (
            State.SUBMITTING | State.RUNNING | State.CANCELLING | State.SUCCEEDED | State.CANCELLED
        ):
            return _expired(job)
        case _:
            assert_never(job.state)


def parent_blockers(
    job: Job, states: Mapping[str, State | None], now: float
) -> tuple[Blocker, ...]:
    """What a `waiting` job waits for; `states`: of its parents, None for one not on record."""
    finding = assess_parents(job.after, states)
    match finding.state:
        case ParentsState.SUCCEEDED if (job.scheduled_for or 0.0) > now:
            return (Blocker("schedule", "scheduled for later", until=job.scheduled_for),)
        case ParentsState.SUCCEEDED:
            return ()
        case ParentsState.GONE:
            return (Blocker("parent", f"waits for other jobs: {finding.text}; it parks now"),)
        case ParentsState.OPEN:
            action = ACTION_OF_PARENTS if is_stuck(job.after, states) else ""
            return (Blocker("parent", f"waits for other jobs: {finding.text}", action),)
        case _:
            assert_never(finding.state)


def _time(job: Job, now: float) -> Blocker:
    """The time that a job waits for."""
    if job.state is State.SCHEDULED:
        return Blocker("schedule", "scheduled for later", until=job.due_at)
    return _backoff(job, now)


def _backoff(job: Job, now: float) -> Blocker:
    reason, outage = job.reason, job.outage
    code = reason.code if reason else "an error"
    if outage is None or not outage.is_postponed:
        text = f"attempt {job.spent} of {job.max_attempts} failed with {code}, backoff running"
        return Blocker("backoff", text, until=job.due_at)
    text = (
        f"failed {pluralize(outage.failures, 'time')}, last with {code}, "
        f"{job.spent} of {job.max_attempts} attempts spent; nothing else of this lane has "
        f"succeeded since its first failure {format_duration(now - outage.since)} ago, so the "
        f"next try waits for {format_duration(max(0.0, (job.due_at or now) - now))}"
    )
    return Blocker("backoff", text, reason.action if reason else "", until=job.due_at)


def _expiry(job: Job, now: float) -> tuple[Blocker, ...]:
    """Until when it may wait."""
    if (at := expires_at(job)) is None:
        return ()
    if at > now:
        return (Blocker("start_by", "cancelled unless it is sent by its start_by", until=at),)
    return (Blocker("start_by", "its start_by has passed: it is cancelled within seconds"),)


def _expired(job: Job) -> tuple[Blocker, ...]:
    """Why a cancelled job was never sent, if that was its `start_by`."""
    if job.state is not State.CANCELLED or job.reason is None or job.reason.code != EXPIRED:
        return ()
    return (Blocker("start_by", f"cancelled: {job.reason.message}", job.reason.action),)


def _operator(job: Job, what: str) -> Blocker:
    reason = job.reason
    if reason is None:
        return Blocker("person", f"{what}, waits for an operator")
    text = f"{what}: {reason.code}" + (f" – {reason.message}" if reason.message else "")
    return Blocker("person", text, reason.action, reason.hold_id)


def _gates(job: Job, context: WhyContext, now: float) -> tuple[Blocker, ...]:
    found: list[Blocker] = []
    closed = context.gates.closing_hold(job.lane)
    if closed is not None and not job.bypass_hold:
        found.append(_hold(closed))
    found += [_hold(hold) for hold in context.gates.opening_holds(job.lane)]
    found += [
        _breaker(breaker, now)
        for breaker in context.gates.breakers
        if covers(breaker.scope, job.lane) and limits_submits(breaker, now)
    ]
    if (cooling := context.gates.running_cool_down(job.lane.scopes, now)) is not None:
        text = f"{cooling.scope} cools down: {cooling.why}"
        found.append(Blocker("cool_down", text, until=cooling.until))
    return tuple(found)


def _polls(job: Job, context: WhyContext) -> tuple[Blocker, ...]:
    """Why the end of a run is not known: its polls say nothing, or a status that is new."""
    history, status = context.poll_history, None
    if job.open_attempt is not None:
        status = job.open_attempt.provider_status
    found: list[Blocker] = []
    if history.failure:
        found.append(Blocker("polls", f"its last poll said nothing of the run: {history.failure}"))
    if status is not None:
        text = f"the provider reports the status {status!r}, which this version does not know"
        found.append(Blocker("polls", f"{text}; it is polled on"))
    hold = next((h for h in context.gates.holds if _needs_poll(h, job)), None)
    if hold is not None:
        found.append(_hold(hold))
    return tuple(found)


def _needs_poll(hold: Hold, job: Job) -> bool:
    return hold.canary is Canary.POLL and covers(hold.scope, job.lane)


def _hold(hold: Hold) -> Blocker:
    if hold.phase is HoldPhase.OPENING and hold.stops_submits:
        text = f"hold on {hold.scope} ({hold.code}) is released: a paid run is polled first"
        return Blocker("hold", text, hold_id=hold.id)
    if hold.phase is HoldPhase.OPENING:
        text = f"hold on {hold.scope} ({hold.code}) is opening, {hold.step} at a time"
        return Blocker("hold", text, hold_id=hold.id)
    text = f"hold on {hold.scope}: {hold.code}" + (f" – {hold.message}" if hold.message else "")
    return Blocker("hold", text, hold.action, hold.id)


def _breaker(breaker: Breaker, now: float) -> Blocker:
    text, action = breaker_text(breaker, now), advice_text(breaker, now)
    return Blocker("breaker", text, action, until=breaker.next_probe_at, breaker=breaker)


def _late(job: Job, context: WhyContext, now: float) -> tuple[Blocker, ...]:
    """Why nothing happens with a job whose time has come."""
    return _workers(context) if job.due_at is not None and job.due_at <= now else ()


def _stopped(context: WhyContext) -> tuple[Blocker, ...]:
    """What keeps the workers that there are from submitting."""
    return () if context.stopped_workers is None else (context.stopped_workers,)


def _workers(context: WhyContext) -> tuple[Blocker, ...]:
    """Why no worker takes it."""
    if context.stopped_workers is not None or context.workers or context.redis_refusal is not None:
        return _stopped(context)
    if context.drained_workers:
        return (Blocker("no_worker", "every worker is drained", ACTION_DRAINED),)
    return (Blocker("no_worker", "no worker is running", "Start one: knouds-worker worker"),)


def _lane_blockers(context: WhyContext, now: float) -> tuple[Blocker, ...]:
    found = list(_workers(context))
    if context.waits_for_poll:
        text = "no poll of the last runs of its account was answered, so no more are paid for"
        text += f": {context.poll_failure}" if context.poll_failure else ""
        found.append(Blocker("polls", f"{text}; it goes on by itself with the first answer"))
    if context.cap is not None and context.active >= context.cap:
        found.append(
            Blocker("cap", f"its lane is at its cap: {context.active} of {context.cap} running")
        )
    place = context.fair_place
    if place is not None and place.cap is not None and place.active >= place.cap:
        text = f"its fair key {place.key} is at its cap: {place.active} of {place.cap} running"
        found.append(Blocker("key_cap", f"{text} in its lane; parked jobs do not count"))
    if context.ahead_in_lane is not None:
        found.append(_queue_position(context, now))
    return tuple(found)


def _queue_position(context: WhyContext, now: float) -> Blocker:
    ahead = context.ahead_in_lane or 0
    text = f"{pluralize(ahead, 'job')} before it in its lane"
    if (place := context.fair_place) is not None:
        own = f"of its fair key {place.key}" if place.key else "without a fair key"
        text = f"about {text}: {place.ahead_in_key} {own}"
        text += f", taking turns with {pluralize(place.other_keys, 'other key')}"
    others = context.ahead_on_route - ahead
    if others > 0:
        text += f", {others} in other lanes of its route"
    wait = wait_s(context.bucket, context.ahead_on_route, now, context.window_s)
    if wait is None or context.bucket.limit is None:
        return Blocker("line", text)
    rate = f"{max(1, context.bucket.limit - URGENT_RESERVE)} per {context.window_s:g} s"
    when = f"in about {format_duration(wait)}" if wait > 0 else "due now"
    return Blocker("line", f"{text}: {when} at {rate}", until=now + wait if wait > 0 else None)


def format_duration(seconds: float) -> str:
    """A duration rounded for reading: `12 s`, `37 min`, `1.5 h`."""
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{seconds / HOUR_S:.1f} h"
