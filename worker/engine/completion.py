"""Brings an answer home: effects, then the job's next version, whatever races and outages say.

An answer of the provider is a fact that was paid for. It is kept in memory and written when Redis
is back, and it is asked again against what the job has become when somebody else was faster.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, ParamSpec, TypeVar, assert_never

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.effects import Decision, Effect, HoldOpened, PlaceHold, RememberSyncOnly, StartCoolDown
from jobs.holds import Hold, apply_accept
from jobs.job import Job
from jobs.states import SETTLED_OR_PARKED, State
from worker.clock import Clock
from worker.engine.redis_recovery import RedisRecovery
from worker.engine.unreadable_records import load_job
from worker.engine.wakeups import Wakeups
from worker.store import Store
from worker.store.codec import encode
from worker.store.commit import SideWrites, VersionedJob, version_of

log: Final = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

RETRY_PAUSE_S: Final = 0.2
MAX_RETRY_PAUSE_S: Final = 2.0

HEAD_BYTES: Final = 65_536
"""How much of a result that is too large is kept."""


class Completion:
    """Performs decisions."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        wakeups: Wakeups,
        redis_recovery: RedisRecovery,
        max_result_bytes: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups
        self._redis_recovery = redis_recovery
        self._max_result_bytes = max_result_bytes
        self._last_costs: dict[tuple[str, str], float] = {}

    async def complete(
        self,
        stored: VersionedJob,
        decide: Callable[[Job, float], Decision | None],
    ) -> VersionedJob | None:
        """Write what `decide` makes of the job; None where it makes nothing of it any more.

        `decide` is asked again with the job as it now is after every lost race, and returns None
        when the answer has become meaningless (another worker was faster, a person decided).
        """
        current: VersionedJob | None = stored
        made_true: set[str] = set()
        while current is not None:
            decision = decide(current.job, self._clock.now())
            if decision is None:
                return None
            if decision.effects:
                fresh = [
                    effect for effect in decision.effects if _effect_key(effect) not in made_true
                ]
                await self.apply_effects(fresh)
                made_true |= {_effect_key(effect) for effect in fresh}
            if decision.job is current.job:
                return current
            job, extra = self._with_result(decision)
            written = await self.retry_while_down(self._commit, current, job, extra)
            if written is not None:
                self._redis_recovery.remember(written, extra.result)
                self._notify(current.job, written.job)
                await self.retry_while_down(self._record_cost, written.job)
                return written
            current = await self.retry_while_down(self._reload_or_restore, current)
        return None

    async def _reload_or_restore(self, ours: VersionedJob) -> VersionedJob | None:
        """The job as it is now, for whoever lost a race.

        Where Redis is older than what we read or wrote, it forgot: nobody was faster, and what we
        know is written again, so that the answer in our hands finds the job that it belongs to.
        """
        found = await load_job(self._store.jobs, ours.job.id, self._clock.now())
        if found is not None and version_of(found.rev) >= version_of(ours.rev):
            return found
        if await self._store.jobs.restore(found, ours):
            log.warning("job.restored", job_id=ours.job.id, state=ours.job.state)
        return await load_job(self._store.jobs, ours.job.id, self._clock.now())

    async def _commit(
        self, old: VersionedJob, new: Job, side_writes: SideWrites
    ) -> VersionedJob | None:
        written = await self._store.jobs.commit(old, new, side_writes)
        return written if isinstance(written, VersionedJob) else None

    async def retry_while_down(
        self,
        call: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call the store until it answers: what is in our hands is not dropped for an outage."""
        pause = RETRY_PAUSE_S
        while True:
            try:
                return await call(*args, **kwargs)
            except (RedisError, OSError) as error:
                log.warning("store_call.retried", error=type(error).__name__, again_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(MAX_RETRY_PAUSE_S, pause * 2)

    async def apply_effects(self, effects: Sequence[Effect]) -> None:
        """Make the effects of a decision true; they are facts, whoever wins the job."""
        for effect in effects:
            match effect:
                case PlaceHold(hold):
                    standing = await self.retry_while_down(self._store.holds.place, hold)
                    _log_hold(standing)
                case StartCoolDown(cool_down):
                    await self.retry_while_down(self._store.holds.place_cool_down, cool_down)
                    log.info("scope.cooled", scope=cool_down.scope, why=cool_down.why)
                case RememberSyncOnly(lane, until):
                    await self.retry_while_down(self._store.holds.remember_sync_only, lane, until)
                    log.info("target.marked_sync_only", lane=str(lane))
                case HoldOpened(hold_ids):
                    for hold_id in hold_ids:
                        await self.retry_while_down(self._widen_opening, hold_id)
                case _:
                    assert_never(effect)

    async def _widen_opening(self, hold_id: str) -> None:
        hold = await self._store.holds.find(hold_id)
        if hold is not None:
            await self._store.holds.change(hold.key, _accept_if_held)
            self._wakeups.admission.notify()

    def _with_result(self, decision: Decision) -> tuple[Job, SideWrites]:
        """The job and its result; of one that is too large the head is kept, with a note."""
        result = decision.result
        if result is None or len(result) <= self._max_result_bytes:
            return decision.job, SideWrites(result=result)
        note = (
            f"the result has {len(result)} bytes, more than KNOUDS_MAX_RESULT_BYTES "
            f"({self._max_result_bytes}): its head is kept; fetch the whole from the provider"
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
                "job.rested",
                state=after.state.value,
                job_id=after.id,
                lane=str(after.lane),
                code=code,
            )
        if before.state is not State.RUNNING and after.execution_id and after.next_poll_at:
            self._wakeups.poller.notify()

    async def _record_cost(self, job: Job) -> None:
        """Note what the job's last run cost, where that is news."""
        last = job.attempts[-1].cost if job.attempts else None
        key = (job.kind.value, job.target)
        if job.state is State.SUCCEEDED and last is not None and self._last_costs.get(key) != last:
            self._last_costs[key] = last
            await self._store.workers.record_cost(*key, last)


def _log_hold(hold: Hold) -> None:
    """One warning for a hold that was put up; refusals of what was under way are no news."""
    facts = {"scope": hold.scope, "code": hold.code, "hold_id": hold.id}
    if hold.hits == 1:
        log.warning("hold.placed", **facts)
    else:
        log.info("hold.hit", hits=hold.hits, relapses=hold.relapses, **facts)


def _effect_key(effect: Effect) -> str:
    """What an effect is about: asked again after a lost race, it must not count twice."""
    match effect:
        case PlaceHold(hold):
            return f"hold {hold.key}"
        case StartCoolDown(cool_down):
            return f"cool {cool_down.scope}"
        case RememberSyncOnly(lane, _):
            return f"sync {lane}"
        case HoldOpened(hold_ids):
            return f"opened {hold_ids}"
        case _:
            assert_never(effect)


def _accept_if_held(hold: Hold | None) -> Hold | None:
    return apply_accept(hold) if hold is not None else None
