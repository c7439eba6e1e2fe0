"""Writes what a decision makes of a job, across lost races and outages of Redis.

An outcome of the provider is a paid fact. It stays in memory until Redis is back; when another
process was faster, the decision is made again on the job as it is then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, ParamSpec, Protocol, TypeVar, assert_never

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.breakers import (
    BreakerCause,
    BreakerFailure,
    BreakerReport,
    BreakerSuccess,
    FailureCase,
    failure_case,
)
from jobs.effects import (
    Decision,
    Effect,
    HoldOpened,
    PlaceHold,
    PollLater,
    RememberSyncOnly,
    StartCoolDown,
)
from jobs.holds import Hold, apply_accept
from jobs.job import Job
from jobs.states import SETTLED_OR_PARKED, State
from worker.clock import Clock
from worker.engine.breaker_reporter import BreakerReporter
from worker.engine.services.redis_recovery import RedisRecovery
from worker.engine.unreadable_records import load_jobs, load_records
from worker.engine.wakeups import Wakeups
from worker.engine.write_back import write_back
from worker.store import Store
from worker.store.codec import encode
from worker.store.commit import VersionedJob, version_of
from worker.store.holds import MAX_HOLDS, MAX_HOLDS_OF_OWNER
from worker.store.jobs import CommitRefused, NewerRecord
from worker.store.refusals import error_word
from worker.store.side_writes import SideWrites

log: Final = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

RETRY_PAUSE_S: Final = 0.2
MAX_RETRY_PAUSE_S: Final = 2.0

HEAD_BYTES: Final = 65_536
"""How much is kept of a result that is too large."""


class Decider(Protocol):
    """An outcome, and how to decide what it makes of a job. Pure, since it may be asked again."""

    def decide(self, job: Job, now: float, jitter: float) -> Decision | PollLater | None:
        """The decision at `now` (Unix seconds); `jitter` is uniform in [0, 1).

        None when the outcome no longer applies: another process was faster, or an operator acted.
        """
        ...


class Completed(NamedTuple):
    """A job as it was written, and the decision that was written."""

    stored: VersionedJob
    decision: Decision | PollLater


class Completion:
    """Performs decisions."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        wakeups: Wakeups,
        redis_recovery: RedisRecovery,
        *,
        breakers: BreakerReporter,
        max_result_bytes: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups
        self._redis_recovery = redis_recovery
        self._breakers = breakers
        self._max_result_bytes = max_result_bytes

    async def complete(
        self,
        stored: VersionedJob,
        decider: Decider,
        *,
        run_taken: Callable[[str, str], Decider] | None = None,
    ) -> Completed | None:
        """Write what the decider makes of the job; None when its outcome no longer applies.

        After every lost race the decider is asked again, with the job as it is then. A decision
        that leaves the job unchanged has only its effects applied. `run_taken`: what decides
        instead if the run that the job would get belongs to another one, from both ids.
        """
        current: VersionedJob | None = stored
        applied: set[str] = set()
        case: FailureCase | None = None
        while current is not None:
            decision = decider.decide(current.job, self._clock.now(), self._clock.jitter())
            if decision is None:
                return None
            if decision.effects:
                new = [e for e in decision.effects if _effect_key(e) not in applied]
                await self.apply_effects(new)
                applied |= {_effect_key(effect) for effect in new}
            if isinstance(decision, Decision) and case is None:
                case = await self._report(decision.reports)
            if isinstance(decision, PollLater) or decision.job is current.job:
                return Completed(current, decision)
            decision = _of_case(decision, case or FailureCase.USUAL)
            job, side_writes = self._with_result(decision)
            written = await self.retry_while_down(self._commit, current, job, side_writes)
            if written is CommitRefused.RUN_TAKEN and run_taken is not None:
                run = job.execution_id or ""
                owner = await self.retry_while_down(self._store.webhooks.run_owner, run)
                log.error("run.taken", job_id=job.id, execution_id=run, owner=owner)
                decider, run_taken, case = run_taken(run, owner or "unknown"), None, None
                continue
            if isinstance(written, VersionedJob):
                self._redis_recovery.remembered.remember(
                    written, before=current, result=side_writes.result
                )
                self._notify(current.job, written.job)
                self._store.costs.note_run(current.job, written.job)
                return Completed(written, decision)
            current = await self.retry_while_down(self._reload_or_restore, current)
        return None

    async def _reload_or_restore(self, ours: VersionedJob) -> VersionedJob | None:
        """The job as it is now, after a lost race.

        When Redis has an older version than the one we read or wrote, it lost data: our version is
        written back, so that the outcome finds its job.
        """
        (found,) = await load_records(self._store.jobs, [ours.job.id], self._clock.now())
        if isinstance(found, NewerRecord):
            log.error("outcome.not_written", job_id=ours.job.id, why=found.why)
            return None
        if found is not None and version_of(found.rev) >= version_of(ours.rev):
            return found
        inputs = self._redis_recovery.remembered.inputs_of(ours.job)
        side_writes = SideWrites(inputs=inputs)
        await write_back(self._store.jobs, found, ours, side_writes, self._clock.now())
        return (await load_jobs(self._store.jobs, [ours.job.id], self._clock.now()))[0]

    async def _commit(
        self, old: VersionedJob, new: Job, side_writes: SideWrites
    ) -> VersionedJob | CommitRefused:
        return await self._store.jobs.commit(old, new, side_writes)

    async def retry_while_down(
        self,
        call: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call the store until it answers: an outage must not drop a paid outcome."""
        pause = RETRY_PAUSE_S
        while True:
            try:
                return await call(*args, **kwargs)
            except (RedisError, OSError) as error:
                log.warning("store_call.retried", error=error_word(error), retry_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(MAX_RETRY_PAUSE_S, pause * 2)

    async def apply_effects(self, effects: Sequence[Effect]) -> None:
        """Apply the effects of a decision; they hold even when the job's race is lost."""
        for effect in effects:
            match effect:
                case PlaceHold(hold):
                    placed = await self.retry_while_down(self._store.holds.place, hold)
                    _log_hold(hold, placed)
                case StartCoolDown(cool_down):
                    await self.retry_while_down(self._store.holds.place_cool_down, cool_down)
                    log.info("scope.cooled", scope=cool_down.scope, why=cool_down.why)
                case RememberSyncOnly(lane, until):
                    await self.retry_while_down(self._store.holds.remember_sync_only, lane, until)
                    log.info("target.marked_sync_only", lane=str(lane))
                case HoldOpened(hold_ids, is_ended):
                    for hold_id in hold_ids:
                        await self.retry_while_down(self._widen_opening, hold_id, is_ended=is_ended)
                case _:
                    assert_never(effect)

    async def _report(self, reports: Sequence[BreakerReport]) -> FailureCase:
        """Count an outcome in the breakers; what a failure says about its job."""
        case = FailureCase.USUAL
        for report in reports:
            match report:
                case BreakerSuccess():
                    self._breakers.add_success(report)
                case BreakerFailure() if self._breakers.add_failure(report):
                    breaker = await self.retry_while_down(self._breakers.flush, report.key)
                    if report.cause is BreakerCause.TARGET_FAILURE:
                        case = failure_case(breaker, report)
                case BreakerFailure():
                    pass
                case _:
                    assert_never(report)
        return case

    async def _widen_opening(self, hold_id: str, *, is_ended: bool) -> None:
        def accepted(hold: Hold | None) -> Hold | None:
            return None if hold is None else apply_accept(hold, is_ended=is_ended)

        hold = await self._store.holds.find(hold_id)
        if hold is not None:
            await self._store.holds.change(hold.key, accepted)
            self._wakeups.admission.notify()

    def _with_result(self, decision: Decision) -> tuple[Job, SideWrites]:
        """The job and its result; of one that is too large only the head, of an erased job none."""
        if transitions.has_erased_run(decision.job):
            return transitions.without_texts(decision.job), SideWrites()
        result = decision.result
        if result is None or len(result) <= self._max_result_bytes:
            return decision.job, SideWrites(result=result)
        note = (
            f"the result has {len(result)} bytes, more than KNOUDS_MAX_RESULT_BYTES "
            f"({self._max_result_bytes}): only its head is kept; fetch all of it from the provider"
        )
        head = result[: min(HEAD_BYTES, self._max_result_bytes)].decode("utf-8", "ignore")
        kept = encode({"truncated": True, "bytes": len(result), "note": note, "head": head})
        return transitions.set_result_note(decision.job, note), SideWrites(result=kept)

    def _notify(self, before: Job, after: Job) -> None:
        if after.state is State.QUEUED:
            self._wakeups.admission.notify()
        elif after.state is State.RETRYING:
            self._wakeups.scheduler.notify()
        elif after.state in SETTLED_OR_PARKED:
            code = after.reason.code if after.reason else None
            log.info(
                "job.parked" if after.state is State.PARKED else "job.settled",
                state=after.state.value,
                job_id=after.id,
                lane=str(after.lane),
                code=code,
            )
        if before.state is not State.RUNNING and after.execution_id and after.next_poll_at:
            self._wakeups.poller.notify()


def _of_case(decision: Decision, case: FailureCase) -> Decision:
    """The decision with the version of the job that counts."""
    match case:
        case FailureCase.USUAL:
            job = None
        case FailureCase.IN_OUTAGE:
            job = decision.job_in_outage
        case FailureCase.IN_QUIET_LANE:
            job = decision.job_in_quiet_lane
        case _:
            assert_never(case)
    return decision if job is None else replace(decision, job=job)


_NO_MORE_HOLDS: Final = (
    f"{MAX_HOLDS} holds stand, or {MAX_HOLDS_OF_OWNER} after jobs of the same tenant or token"
)


def _log_hold(new: Hold, hold: Hold | None) -> None:
    """Warn once per hold; requests that were under way may be refused by it, too."""
    facts = {"scope": new.scope, "code": new.code, "hold_id": new.id}
    if hold is None:
        log.warning("hold.not_placed", why=_NO_MORE_HOLDS, **facts)
    elif hold.hits == 1:
        log.warning("hold.placed", **facts)
    else:
        log.info("hold.hit", hits=hold.hits, relapses=hold.relapses, **facts)


def _effect_key(effect: Effect) -> str:
    """What an effect changes: after a lost race it must not be applied twice."""
    match effect:
        case PlaceHold(hold):
            return f"hold {hold.key}"
        case StartCoolDown(cool_down):
            return f"cool {cool_down.scope}"
        case RememberSyncOnly(lane, _):
            return f"sync {lane}"
        case HoldOpened(hold_ids, _):
            return f"opened {hold_ids}"
        case _:
            assert_never(effect)
