"""Counts the outcomes of this worker in the shared breakers.

Failures are written before the job they are of, in one write with all others that wait. Successes
of a breaker without failures cost nothing; the others are written together, a little later.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from jobs.breakers import (
    BREAKER_RULES,
    Breaker,
    BreakerCause,
    BreakerFailure,
    BreakerState,
    BreakerSuccess,
    apply_failure,
    apply_success,
)
from jobs.breakers.signals import outcome_known
from jobs.holds import Gates
from jobs.job import Job
from jobs.lanes import JobId
from jobs.states import Mode
from worker.clock import Clock
from worker.engine.services.heartbeat import LiveWorkers
from worker.engine.wakeups import Wakeup
from worker.store.breakers import BreakerChange, BreakerStore
from worker.store.metrics.buffer import MetricsBuffer

log: Final = structlog.get_logger(__name__)

_Outcome = tuple[BreakerFailure | BreakerSuccess, float]
"""An outcome and when it came."""


class BreakerReporter:
    """The breakers as this worker last saw them, and its outcomes that are not written yet."""

    def __init__(
        self,
        store: BreakerStore,
        metrics: MetricsBuffer,
        clock: Clock,
        *,
        worker_id: str,
        live_workers: LiveWorkers,
        admission_wakeup: Wakeup,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self.worker_id = worker_id
        self.live_workers = live_workers
        self._admission_wakeup = admission_wakeup
        self._known: dict[str, Breaker] = {}
        self._pending: defaultdict[str, list[_Outcome]] = defaultdict(list)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unreached: defaultdict[str, int] = defaultdict(int)
        """Connections of each account that failed in a row."""
        self._submitting: Counter[str] = Counter()
        """Submits under way by lane."""
        self._open_sync: dict[str, tuple[Job, float]] = {}
        """Sync submits under way by job id, with when they began."""
        self.wakeup = Wakeup()
        """There are successes that open something: the service writes them at once."""

    @contextlib.contextmanager
    def submit_under_way(self, job: Job, mode: Mode) -> Generator[None]:
        """Count a submit while it has no outcome."""
        lane = str(job.lane)
        self._submitting[lane] += 1
        if mode is Mode.SYNC:
            self._open_sync[job.id] = job, self._clock.now()
        try:
            yield
        finally:
            self._submitting[lane] -= 1
            self._open_sync.pop(job.id, None)

    def note_open_submits(self, now: float) -> dict[JobId, set[str]]:
        """Note sync submits as accepted that are open for longer than lost ones were.

        Returns the ids of their breakers by job id: these need not count them any more.
        """
        found: dict[JobId, set[str]] = {}
        if all(one.failures_in_row == 0 and one.step == 0 for one in self._known.values()):
            return found
        for job_id, (job, began_at) in list(self._open_sync.items()):
            for success in outcome_known(job):
                known = self._known.get(success.key)
                if known is None or known.cause is not BreakerCause.UNKNOWN_OUTCOME:
                    continue
                if known.is_outlasted(began_at, now):
                    self.add_success(success)
                    found.setdefault(job.id, set()).add(known.id)
            if job.id in found:
                del self._open_sync[job_id]
        return found

    def observe(self, breakers: Iterable[Breaker]) -> None:
        """Note the breakers as they were just read."""
        self._known = {breaker.key: breaker for breaker in breakers}

    def add_failure(self, failure: BreakerFailure) -> bool:
        """Note a failure; returns whether it has to be written before its job."""
        if failure.cause is BreakerCause.TARGET_FAILURE and not failure.is_run:
            under_way = self._submitting[failure.scope] * self.live_workers.count
            failure = msgspec.structs.replace(failure, in_flight=under_way)
        if failure.cause is BreakerCause.UNREACHABLE:
            self._unreached[failure.scope] += 1
            in_row = self._unreached[failure.scope]
            if in_row < BREAKER_RULES[failure.cause].in_row and not failure.is_canary:
                return False
        failure = msgspec.structs.replace(
            failure, worker=self.worker_id, live_workers=self.live_workers.count
        )
        self._pending[failure.key].append((failure, self._clock.now()))
        return True

    def add_success(self, success: BreakerSuccess) -> None:
        """Note a success, if it changes anything; it is written within a second."""
        self._unreached.pop(success.scope.partition("/")[0], None)
        known = self._known.get(success.key)
        changes_nothing = known is None or known.is_clean
        if not success.is_canary and changes_nothing and not self._is_being_written(success.key):
            return
        now = self._clock.now()
        self._pending[success.key].append((success, now))
        if known is None or known.submits_allowed(now) is not None:
            self.wakeup.notify()
            self._admission_wakeup.notify()

    def with_noted(self, gates: Gates, now: float) -> Gates:
        """The gates, with breakers that limit as they will be once what is noted is written."""
        if not any(one.submits_allowed(now) is not None for one in gates.breakers):
            return gates
        breakers = [
            one if one.submits_allowed(now) is None else _fold(one, self._pending.get(one.key, ()))
            for one in gates.breakers
        ]
        return replace(gates, breakers=tuple(breakers))

    def _is_being_written(self, key: str) -> bool:
        """Whether a failure is noted that the known breaker does not show yet."""
        return bool(self._pending.get(key)) or (key in self._locks and self._locks[key].locked())

    async def flush(self, key: str) -> Breaker:
        """Write what is noted of a breaker; returns it. Raises `redis.exceptions.RedisError`."""
        async with self._locks[key]:
            pending = self._pending.pop(key, [])
            known = self._known.get(key)
            if not pending and known is not None:
                return known
            try:
                pending = await self._with_runs_in_flight(pending, known)
                return await self.change(key, lambda breaker: _fold(breaker, pending))
            except BaseException:
                self._pending[key][:0] = pending
                raise

    async def _with_runs_in_flight(
        self, pending: list[_Outcome], known: Breaker | None
    ) -> list[_Outcome]:
        """The outcomes, with the runs in flight in failures that may trip the breaker."""
        runs = [o for o, _ in pending if isinstance(o, BreakerFailure) and o.is_run]
        failures = known.failures if known is not None else 0
        if not runs or failures + len(runs) < BREAKER_RULES[runs[0].cause].in_row:
            return pending
        in_flight = max(0, await self._store.count_active(runs[0].scope) - len(runs))
        return [
            (msgspec.structs.replace(outcome, in_flight=in_flight), at)
            if isinstance(outcome, BreakerFailure) and outcome.is_run
            else (outcome, at)
            for outcome, at in pending
        ]

    async def flush_all(self) -> None:
        """Write everything that is noted."""
        for key in [key for key, pending in self._pending.items() if pending]:
            await self.flush(key)

    async def change(self, key: str, transform: Callable[[Breaker], Breaker]) -> Breaker:
        """Write what `transform` makes of a breaker; returns it."""
        change = await self._store.change(key, transform)
        self._known[key] = change.after
        now = self._clock.now()
        if change.before.submits_allowed(now) != change.after.submits_allowed(now):
            self._admission_wakeup.notify()
        if change.is_visible:
            self._note_change(change)
        return change.after

    def _note_change(self, change: BreakerChange) -> None:
        before, after = change.before, change.after
        self._admission_wakeup.notify()
        self.wakeup.notify()
        if before.state is after.state:
            return
        facts = {"scope": after.scope, "cause": after.cause.value, "breaker_id": after.id}
        match after.state:
            case BreakerState.OPEN:
                self._metrics.breaker_opened(after.cause, tripped=after.trips > before.trips)
                log.warning(
                    "breaker.opened",
                    code=after.error.code if after.error else None,
                    trips=after.trips,
                    next_probe_at=after.next_probe_at,
                    **facts,
                )
            case BreakerState.PROBING:
                self._metrics.breaker_probed(after.cause)
                log.info("breaker.probing", **facts)
            case BreakerState.CLOSED:
                log.info("breaker.closed", **facts)


def _fold(breaker: Breaker, outcomes: Iterable[_Outcome]) -> Breaker:
    for outcome, at in outcomes:
        match outcome:
            case BreakerFailure():
                breaker = apply_failure(breaker, outcome, at)
            case BreakerSuccess():
                breaker = apply_success(breaker, outcome, at)
    return breaker
