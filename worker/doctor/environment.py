"""Findings about the environment of the jobs: clock, namespace, provider, workers, settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from config.settings import Settings
from jobs.texts import pluralize
from worker.clock import MAX_CLOCK_OFF_S
from worker.doctor.findings import Finding, fail, ok, warn
from worker.engine.clock_follower import CLOCK, NTP, clock_text
from worker.engine.worker_problems import failing_services, worker_problems
from worker.redis.connect import SOCKET_TIMEOUT_S
from worker.store.refusals import RedisRefusal
from worker.store.workers import ALIVE_LEASES, Heartbeat

CLOCK_SKEW: Final = "clock.skew"
SKEW_WARN_S: Final = 1.0

LEASE_LONG_S: Final = 60.0
RETENTION_SHORT_S: Final = 300.0

_ALIVE: Final = "workers.alive"


def judge_clock(skew_s: float, uncertainty_s: float) -> Finding:
    """Judge the clock: `skew_s` ahead of Redis' clock, `uncertainty_s` is half the round trip."""
    name = CLOCK_SKEW
    certain = max(0.0, abs(skew_s) - uncertainty_s)
    side = "ahead of" if skew_s > 0 else "behind"
    text = f"this machine's clock is {abs(skew_s):.2f} s {side} that of Redis"
    if certain > MAX_CLOCK_OFF_S:
        return fail(name, f"{text}: a worker on this machine sends nothing", NTP)
    if certain > SKEW_WARN_S:
        return warn(name, f"{text}; a worker sends nothing from {MAX_CLOCK_OFF_S:g} s on", NTP)
    return ok(name, f"this machine and Redis agree within {max(certain, 0.01):.2f} s")


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """The types of the namespace's keys, and the other namespaces on this Redis."""

    name: str
    wrong_types: Mapping[str, tuple[str, str]]
    """Key → its type and the expected type, where they differ."""
    queue_key: str
    """The key of the arq queue."""
    queued: int | None
    """Entries in the arq queue; None where the key is of another type."""
    other_namespaces: Sequence[str]
    """Other namespaces with a live worker or API."""


def judge_namespace(facts: NamespaceFacts) -> list[Finding]:
    """Judge the fixed keys and the arq queue."""
    found: list[Finding] = []
    others = (
        f"; also on this Redis: {', '.join(facts.other_namespaces)}"
        if facts.other_namespaces
        else ""
    )
    for key, (kind, wanted) in sorted(facts.wrong_types.items()):
        text = f"{key} is a {kind}, not a {wanted}: another program uses the namespace"
        fix = "give one of the two another namespace (KNOUDS_NAMESPACE), or another Redis"
        found.append(fail("redis.keys", text, fix))
    if not found:
        found.append(ok("redis.keys", f"no other program uses namespace {facts.name}{others}"))
    if facts.queued is not None:
        text = f"the arq queue {facts.queue_key} answers, {facts.queued} in it"
        found.append(ok("redis.queue", text))
    return found


def judge_accounts(accounts: Sequence[str], used: Sequence[str]) -> list[Finding]:
    """Judge whether there is a key for every account that has queued jobs."""
    if not accounts:
        fix = "set KNOUDS_API_KEY, unless `knouds-worker up` runs with its sandbox"
        return [warn("provider.key", "no API key is set: nothing can be submitted", fix)]
    missing = sorted(set(used) - set(accounts))
    if not missing:
        return []
    text = f"jobs are queued for {', '.join(missing)}, but there is no key here"
    fix = "add the account to KNOUDS_API_KEYS of the workers, or cancel the jobs"
    return [warn("provider.key", text, fix)]


def judge_workers(
    heartbeats: Sequence[Heartbeat],
    now: float,
    lease_s: float,
    waiting_jobs: int,
    refusals: Sequence[RedisRefusal] = (),
    *,
    clocks_differ: bool = False,
) -> list[Finding]:
    """Judge the workers by their heartbeats; `waiting_jobs` need a live one.

    With `refusals` of Redis, a worker without a fresh heartbeat may live: it cannot write it.
    `clocks_differ`: the clock of Redis, by which `now` is, is not that of this machine.
    """
    fresh = now - ALIVE_LEASES * lease_s
    live = [beat for beat in heartbeats if _redis_time_of(beat, now) >= fresh]
    silent = [beat for beat in heartbeats if beat not in live and not beat.stopping]
    if refusals:
        silent = []
    unknown = [beat for beat in silent if clocks_differ or beat.is_clock_off]
    found = [_judge_liveness(live, waiting_jobs, is_known=not unknown)]
    if refusals and not live:
        text = f"which workers live is not known: {refusals[0].reason}, so none writes a heartbeat"
        found = [warn(_ALIVE, text, refusals[0].fix)]
    for beat in silent:
        age = f"{now - beat.seen_at:.0f} s"
        if beat in unknown:
            text = (
                f"the heartbeat of {beat.id} is {age} old by the clock of Redis, and clocks differ"
            )
            fix = f"{NTP}; until then look at pid {beat.pid} on {beat.host}"
        else:
            text = f"{beat.id} stopped its heartbeat {age} ago without a shutdown"
            fix = f"check pid {beat.pid} on {beat.host}; its jobs have been rescued"
        found.append(warn("workers.silent", text, fix))
    for account in sorted({one for beat in live for one in beat.unproved_accounts}):
        text = f"submits of account {account} wait: no poll of its last runs was answered"
        fix = "they go on with the first answer; if it stays, check the API key and the provider"
        found.append(warn("workers.polls_unproved", text, fix))
    for beat in live:
        found += _judge_worker_clock(beat, now)
        found += _judge_worker_problems(beat)
    return found


def _redis_time_of(beat: Heartbeat, now: float) -> float:
    """When a heartbeat was written, by the clock of Redis.

    Where that jumped, a worker goes on by its old time, which is that of its machine.
    """
    if beat.is_clock_off:
        corrected = beat.seen_at - beat.clock_ahead_s
        if beat.seen_at < corrected <= now + MAX_CLOCK_OFF_S:
            return corrected
    return beat.seen_at


def _judge_liveness(live: Sequence[Heartbeat], waiting_jobs: int, *, is_known: bool) -> Finding:
    """Judge whether a worker takes jobs; not `is_known`: clocks leave open whether one lives."""
    name = _ALIVE
    working = [beat for beat in live if beat.takes_work]
    if working:
        names = ", ".join(beat.id for beat in working)
        return ok(name, f"{pluralize(len(working), 'worker')}: {names}")
    text, fix = "no live worker", "start one: knouds-worker worker"
    if not live and not is_known:
        text, fix = "no heartbeat is recent by the clock of Redis, and clocks differ", NTP
    elif any(beat.is_clock_off for beat in live):
        text, fix = "the clock of every live worker is wrong, or it is drained or stopping", NTP
    elif live:
        text = "every worker is drained or stopping"
        fix = f"{fix}, or undo a drain: knouds-worker drain --undo WORKER"
    if waiting_jobs and (live or is_known):
        text += f", and {pluralize(waiting_jobs, 'job')} cannot continue"
    return warn(name, text, fix)


def _judge_worker_problems(beat: Heartbeat) -> list[Finding]:
    """What a worker says of itself beside its clock."""
    found: list[Finding] = []
    for problem in worker_problems(beat):
        if problem.name != CLOCK:
            judge = fail if problem.stops_submits else warn
            found.append(judge("workers.problem", f"{beat.id}: {problem.text}", problem.fix))
    for service, error in sorted(failing_services(beat).items()):
        text = f"{service} of {beat.id} keeps failing ({error})"
        fix = f"read its log on {beat.host} for service.failed or service.interrupted"
        found.append(warn("workers.failing", text, fix))
    return found


def _judge_worker_clock(beat: Heartbeat, now: float) -> list[Finding]:
    """Judge the clock of a worker's machine by its heartbeat; `now` is by Redis' clock."""
    name = "workers.clock"
    if beat.is_clock_off:
        return [fail(name, f"{beat.id}: {clock_text(beat.clock_ahead_s)}", NTP)]
    if beat.seen_at - now > MAX_CLOCK_OFF_S:  # a version that works by the machine's clock
        text = f"the heartbeat of {beat.id} is {beat.seen_at - now:.0f} s in the future"
        return [fail(name, f"{text}: jobs are rescued, stuck and started at wrong times", NTP)]
    if abs(beat.clock_ahead_s) > SKEW_WARN_S:
        text = f"the clock of {beat.id} differs from that of Redis by {beat.clock_ahead_s:+.1f} s"
        return [warn(name, f"{text}; it sends nothing from {MAX_CLOCK_OFF_S:g} s on", NTP)]
    return []


def judge_settings(settings: Settings) -> list[Finding]:
    """Judge settings that are valid alone and harmful together."""
    found: list[Finding] = []
    lease = settings.lease_s
    if lease <= SOCKET_TIMEOUT_S:
        text = f"KNOUDS_LEASE_S ({lease:g}) is not more than the timeout of a Redis command "
        text += f"({SOCKET_TIMEOUT_S:g}): jobs would be rescued from live workers"
        found.append(warn("settings.lease", text, "raise KNOUDS_LEASE_S to 10 or so"))
    elif lease > LEASE_LONG_S:
        text = f"KNOUDS_LEASE_S ({lease:g}): the jobs of a killed worker wait this long"
        found.append(warn("settings.lease", text, "lower KNOUDS_LEASE_S to 10 or so"))
    if settings.run_deadline_s < settings.poll_max_s:
        text = (
            f"KNOUDS_RUN_DEADLINE_S ({settings.run_deadline_s:g}) is less than KNOUDS_POLL_MAX_S "
            f"({settings.poll_max_s:g}): runs park as stuck between two polls"
        )
        found.append(warn("settings.deadline", text, "raise the deadline, or poll more often"))
    if settings.retention_s < RETENTION_SHORT_S:
        text = (
            f"KNOUDS_RETENTION_S ({settings.retention_s:g}): results are removed soon after the end"
        )
        fix = "raise it to what the slowest reader of results needs"
        found.append(warn("settings.retention", text, fix))
    return found or [ok("settings.together", "leases, timeouts and deadlines fit together")]
