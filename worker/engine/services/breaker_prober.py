"""The breaker service: probes open breakers, and ends what waited for longer than an outage may.

One worker makes each probe call, under a lease; the calls take turns over the workers.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol, assert_never

import structlog
from redis.exceptions import RedisError

from jobs.breakers import (
    ROTATION_S,
    Breaker,
    BreakerCause,
    BreakerError,
    BreakerState,
    PostponedRetry,
    apply_evidence,
    apply_probe_begin,
    apply_probe_claim,
    apply_probe_result,
    due_at_once,
    is_canary_due,
    is_last_probe_due,
    is_probe_due,
    may_forget,
    without_postponed,
)
from jobs.evidence.records import EvidenceFinding
from jobs.job import Job
from jobs.lanes import JobId, Lane
from jobs.outcomes import CallFailure, ProviderError
from jobs.retries import is_outage_over_limit, outage_reason
from jobs.states import State
from jobs.transitions import dead_letter, promote, stop_counting
from worker.engine.breaker_reporter import BreakerReporter
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.provider.port import Identity, UnknownAccount
from worker.store.commit import VersionedJob
from worker.store.refusals import error_word
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 1.0
FORGET_AFTER_S: Final = 3_600.0
"""A closed breaker is forgotten after an hour; until then late failures are given back."""

MAX_DEAD_LETTERS: Final = 100
"""Jobs of one lane that one tick makes dead letters of."""

KNOWN_FINDINGS: Final = (
    EvidenceFinding.NOT_STARTED,
    EvidenceFinding.STARTED,
    EvidenceFinding.AMBIGUOUS,
)
"""Findings that end the pause of a lost canary; without one the pause runs to its end."""

SOONER_NOTE: Final = "its next try was postponed, and is due now"

GATEWAY_ERRORS: Final = (502, 503, 504)
"""Statuses that something in front of the provider answers, or a provider that is down."""

MAX_ERROR_CHARS: Final = 200


class ProbePort(Protocol):
    """What the prober needs of a provider."""

    async def whoami(self, account: str) -> Identity | CallFailure:
        """Return whose API key the account uses; it costs nothing."""
        ...


class BreakerProber:
    """Probes breakers, forgets old ones, and writes what the reporter has noted."""

    name = "breaker_prober"

    def __init__(
        self, context: WorkerContext, reporter: BreakerReporter, provider: ProbePort
    ) -> None:
        self._store = context.store
        self._clock = context.clock
        self._limit_s = context.rules.outage_limit_s
        self._wakeups = context.wakeups
        self._reporter = reporter
        self._provider = provider
        self._calls: dict[str, asyncio.Task[None]] = {}

    @property
    def wakeup(self) -> Wakeup:
        """Ends the pause between two ticks early."""
        return self._reporter.wakeup

    async def tick(self, now: float) -> float:
        """Probe what is due; returns the seconds until the next probe, at most a second."""
        outlasting = self._reporter.note_open_submits(now)
        await self._reporter.flush_all()
        await self._stop_counting(outlasting, now)
        breakers = await self._store.breakers.list_all()
        self._reporter.observe(breakers)
        routes = {breaker.key: breaker for breaker in breakers if breaker.is_of_route}
        pause_s, has_more = TICK_S, False
        for breaker in breakers:
            if (route := routes.get(breaker.route_key or "")) and _is_probed_first(route):
                await self._probe_behind(route, breaker, now)
            elif self._may_probe(breaker, now):
                await self._probe(breaker, now)
            elif may_forget(breaker, now, FORGET_AFTER_S):
                await self._store.breakers.remove(breaker)
            elif breaker.next_probe_at is not None and breaker.next_probe_at > now:
                pause_s = min(pause_s, breaker.next_probe_at - now)
            if breaker.evidence_of is not None:
                await self._end_pause_by_evidence(breaker, breaker.evidence_of, now)
            if due := due_at_once(breaker):
                await self._promote(breaker, due, now)
            if breaker.cause is BreakerCause.TARGET_FAILURE and breaker.opened_at is not None:
                has_more |= await self._end_long_waits(breaker, breaker.opened_at, now)
        return 0.0 if has_more else pause_s

    async def stop(self) -> None:
        """Cancel the probe calls that are under way; their leases end by themselves."""
        await cancel_and_wait(*self._calls.values())

    def _may_probe(self, breaker: Breaker, now: float) -> bool:
        if is_last_probe_due(breaker, now, self._limit_s):
            return True
        if not is_probe_due(breaker, now) or breaker.key in self._calls:
            return False
        me = self._reporter.worker_id
        if not breaker.is_shared:
            return me in breaker.workers
        is_second = breaker.prober == me and self._reporter.live_workers.count > 1
        return not is_second or is_probe_due(breaker, now - ROTATION_S)

    async def _probe_behind(self, route: Breaker, breaker: Breaker, now: float) -> None:
        """Let a lane's canary go as one of its route, whose own call was answered."""
        if route.state is BreakerState.PROBING and is_canary_due(breaker, now):
            await self._reporter.change(
                breaker.key, lambda b: apply_probe_begin(b, now) if is_canary_due(b, now) else b
            )

    async def _probe(self, breaker: Breaker, now: float) -> None:
        if not breaker.rule.probes_by_call:
            await self._reporter.change(breaker.key, lambda b: self._begin_if_due(b, now))
            return
        me = self._reporter.worker_id
        claimed = await self._reporter.change(breaker.key, lambda b: apply_probe_claim(b, me, now))
        if claimed.prober == me and claimed.prober_until is not None:
            task = asyncio.create_task(self._call(claimed), name=f"probe {claimed.scope}")
            self._calls[claimed.key] = task
            task.add_done_callback(lambda _: self._calls.pop(claimed.key, None))

    def _begin_if_due(self, breaker: Breaker, now: float) -> Breaker:
        is_due = is_probe_due(breaker, now) or is_last_probe_due(breaker, now, self._limit_s)
        return apply_probe_begin(breaker, now) if is_due else breaker

    async def _call(self, breaker: Breaker) -> None:
        """Make the probe call, and write what it found."""
        try:
            answer = await self._provider.whoami(breaker.scope.partition("/")[0])
        except UnknownAccount:
            return  # this worker has no key for it; another one takes over
        now, me = self._clock.now(), self._reporter.worker_id
        failure = _call_error(answer)
        log.info(
            "breaker.probed",
            scope=breaker.scope,
            cause=breaker.cause,
            answered=failure is None,
            http_status=answer.http_status if isinstance(answer, CallFailure) else None,
        )
        try:
            await self._reporter.change(
                breaker.key, lambda b: apply_probe_result(b, me, now, failure)
            )
        except (RedisError, OSError) as error:
            log.warning("probe.interrupted", scope=breaker.scope, error=error_word(error))

    async def _promote(self, breaker: Breaker, due: tuple[PostponedRetry, ...], now: float) -> None:
        """Queue jobs whose next try was postponed: another job has succeeded, or somebody asked."""
        ids = [JobId(one.job_id) for one in due]
        found = await load_jobs(self._store.jobs, ids, now)
        ready = [one for one in found if one is not None and _is_postponed(one.job)]
        commits = [
            self._store.jobs.commit(one, promote(one.job, now, note=SOONER_NOTE)) for one in ready
        ]
        await asyncio.gather(*commits)
        await self._reporter.change(breaker.key, lambda b: without_postponed(b, due))
        self._wakeups.admission.notify()
        if ready:
            log.info("postponed_retries.promoted", scope=breaker.scope, jobs=len(ready))

    async def _stop_counting(self, breaker_ids: Mapping[JobId, set[str]], now: float) -> None:
        """Free the places that open sync submits hold in the steps of breakers."""
        found = await load_jobs(self._store.jobs, list(breaker_ids), now)
        for stored in found:
            if stored is None:
                continue
            after = stop_counting(stored.job, breaker_ids[stored.job.id])
            if after is not stored.job:
                await self._store.jobs.commit(stored, after)  # refused: it has its outcome

    async def _end_pause_by_evidence(self, breaker: Breaker, job_id: str, now: float) -> None:
        """Let the next canary go once it is known whether the run of the lost one started."""
        stored = await self._store.jobs.load(job_id)
        if stored is None or stored.job.finding in KNOWN_FINDINGS:
            await self._reporter.change(breaker.key, lambda b: apply_evidence(b, job_id, now))

    async def _end_long_waits(self, breaker: Breaker, opened_at: float, now: float) -> bool:
        """Make dead letters of jobs that waited for too long; whether there may be more."""
        # While it probes, and where the last probe failed before the limit, jobs get their turn.
        failed_at = breaker.changed_at
        is_over = self._limit_s > 0 and failed_at - opened_at >= self._limit_s
        if breaker.state is not BreakerState.OPEN or not is_over:
            return False
        lane = Lane.parse(breaker.scope)
        head = await self._store.lanes.oldest(lane, MAX_DEAD_LETTERS)
        found = await load_jobs(self._store.jobs, [job_id for job_id, _ in head], now)
        ended = sum([await self._end(one, opened_at, failed_at, now) for one in found if one])
        if ended:
            log.warning("outage.ended_waits", scope=breaker.scope, jobs=ended)
        return ended >= MAX_DEAD_LETTERS

    async def _end(
        self, stored: VersionedJob, opened_at: float, failed_at: float, now: float
    ) -> bool:
        job = stored.job
        if job.state is not State.QUEUED:
            return False
        if not is_outage_over_limit(job, opened_at, failed_at, self._limit_s):
            return False
        reason = outage_reason(self._limit_s)
        dead = dead_letter(job, now, ProviderError(reason.code, reason.message), reason)
        return isinstance(await self._store.jobs.commit(stored, dead), VersionedJob)


def _is_postponed(job: Job) -> bool:
    is_waiting = job.state is State.RETRYING and not job.awaits_finding
    return is_waiting and job.outage is not None and job.outage.is_postponed


def _is_probed_first(route: Breaker) -> bool:
    """Whether the lanes of a route wait for its probe: one canary is of both."""
    return route.state is not BreakerState.CLOSED


def _call_error(answer: Identity | CallFailure) -> BreakerError | None:
    """Why a call shows nothing; None if the provider's API answered it, also with a refusal."""
    match answer:
        case Identity():
            return None
        case CallFailure(http_status=status, error=error):
            hundreds = (status or 0) // 100
            is_json = hundreds == 2 if error is None else error.is_readable  # noqa: PLR2004
            is_answer = is_json or hundreds == 4  # noqa: PLR2004
            if is_answer and status not in GATEWAY_ERRORS:
                return None
            code = error.display_code if error is not None else "no_answer"
            return BreakerError(code, status, answer.why[:MAX_ERROR_CHARS])
        case _:
            assert_never(answer)
