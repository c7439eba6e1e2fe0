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
from jobs.effects import Cool, Decision, Effect, Opened, PutUp, RememberSync
from jobs.holds import Hold, accepted
from jobs.job import Job
from jobs.states import AT_REST, State
from worker.clock import Clock
from worker.engine.redis_recovery import Recollection
from worker.engine.wakeups import Bells
from worker.store import Store
from worker.store.codec import encode
from worker.store.commit import Extra, Stored, age_of

log: Final = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

AGAIN_S: Final = 0.2
AGAIN_MOST_S: Final = 2.0

HEAD_BYTES: Final = 65_536
"""How much of a result that is too large is kept."""


class Settling:
    """Performs decisions."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        bells: Bells,
        recollection: Recollection,
        max_result_bytes: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._bells = bells
        self._recollection = recollection
        self._max_result_bytes = max_result_bytes
        self._costs: dict[tuple[str, str], float] = {}

    async def settle(
        self,
        stored: Stored,
        decide: Callable[[Job, float], Decision | None],
    ) -> Stored | None:
        """Write what `decide` makes of the job; None where it makes nothing of it any more.

        `decide` is asked again with the job as it now is after every lost race, and returns None
        when the answer has become meaningless (another worker was faster, a person decided).
        """
        current: Stored | None = stored
        made_true: set[str] = set()
        while current is not None:
            decision = decide(current.job, self._clock.now())
            if decision is None:
                return None
            if decision.effects:
                fresh = [effect for effect in decision.effects if _name(effect) not in made_true]
                await self.perform(fresh)
                made_true |= {_name(effect) for effect in fresh}
            if decision.job is current.job:
                return current
            job, extra = self._with_result(decision)
            written = await self.patiently(self._commit, current, job, extra)
            if written is not None:
                self._recollection.remember(written, extra.result)
                self._announce(current.job, written.job)
                await self.patiently(self._remember_cost, written.job)
                return written
            current = await self.patiently(self._newest, current)
        return None

    async def _newest(self, ours: Stored) -> Stored | None:
        """The job as it is now, for whoever lost a race.

        Where Redis is older than what we read or wrote, it forgot: nobody was faster, and what we
        know is written again, so that the answer in our hands finds the job that it belongs to.
        """
        found = await self._store.jobs.load(ours.job.id)
        if found is not None and age_of(found.rev) >= age_of(ours.rev):
            return found
        if await self._store.jobs.restore(found, ours):
            log.warning("job.restored", job_id=ours.job.id, state=ours.job.state)
        return await self._store.jobs.load(ours.job.id)

    async def _commit(self, old: Stored, new: Job, extra: Extra) -> Stored | None:
        written = await self._store.jobs.commit(old, new, extra)
        return written if isinstance(written, Stored) else None

    async def patiently(
        self,
        call: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call the store until it answers: what is in our hands is not dropped for an outage."""
        pause = AGAIN_S
        while True:
            try:
                return await call(*args, **kwargs)
            except (RedisError, OSError) as error:
                log.warning("answer.kept", error=type(error).__name__, again_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(AGAIN_MOST_S, pause * 2)

    async def perform(self, effects: Sequence[Effect]) -> None:
        """Make the effects of a decision true; they are facts, whoever wins the job."""
        for effect in effects:
            match effect:
                case PutUp(hold):
                    standing = await self.patiently(self._store.gates.put_up, hold)
                    _tell_of(standing)
                case Cool(cool_down):
                    await self.patiently(self._store.gates.cool, cool_down)
                    log.info("scope.cooled", scope=cool_down.scope, why=cool_down.why)
                case RememberSync(lane, until):
                    await self.patiently(self._store.gates.remember_sync, lane, until)
                    log.info("target.found_sync_only", lane=str(lane))
                case Opened(hold_ids):
                    for hold_id in hold_ids:
                        await self.patiently(self._open_further, hold_id)
                case _:
                    assert_never(effect)

    async def _open_further(self, hold_id: str) -> None:
        hold = await self._store.gates.hold(hold_id)
        if hold is not None:
            await self._store.gates.change(hold.key, _accepted)
            self._bells.admission.ring()

    def _with_result(self, decision: Decision) -> tuple[Job, Extra]:
        """The job and its result; of one that is too large the head is kept, with a note."""
        result = decision.result
        if result is None or len(result) <= self._max_result_bytes:
            return decision.job, Extra(result=result)
        note = (
            f"the result has {len(result)} bytes, more than KNOUDS_MAX_RESULT_BYTES "
            f"({self._max_result_bytes}): its head is kept; fetch the whole from the provider"
        )
        head = result[: min(HEAD_BYTES, self._max_result_bytes)].decode("utf-8", "ignore")
        kept = encode({"truncated": True, "bytes": len(result), "note": note, "head": head})
        return transitions.note_result(decision.job, note), Extra(result=kept)

    def _announce(self, before: Job, after: Job) -> None:
        if after.state is State.QUEUED:
            self._bells.admission.ring()
        elif after.state is State.RETRYING:
            self._bells.timer.ring()
        elif after.state in AT_REST:
            code = after.reason.code if after.reason else None
            log.info(
                "job.rested",
                state=after.state.value,
                job_id=after.id,
                lane=str(after.lane),
                code=code,
            )
        if before.state is not State.RUNNING and after.execution_id and after.next_poll_at:
            self._bells.poller.ring()

    async def _remember_cost(self, job: Job) -> None:
        """Note what the job's last run cost, where that is news."""
        last = job.attempts[-1].cost if job.attempts else None
        key = (job.kind.value, job.target)
        if job.state is State.SUCCEEDED and last is not None and self._costs.get(key) != last:
            self._costs[key] = last
            await self._store.fleet.saw_cost(*key, last)


def _tell_of(hold: Hold) -> None:
    """One warning for a hold that was put up; refusals of what was under way are no news."""
    facts = {"scope": hold.scope, "code": hold.code, "hold_id": hold.id}
    if hold.hits == 1:
        log.warning("hold.put_up", **facts)
    else:
        log.info("hold.hit", hits=hold.hits, relapses=hold.relapses, **facts)


def _name(effect: Effect) -> str:
    """What an effect is about: asked again after a lost race, it must not count twice."""
    match effect:
        case PutUp(hold):
            return f"hold {hold.key}"
        case Cool(cool_down):
            return f"cool {cool_down.scope}"
        case RememberSync(lane, _):
            return f"sync {lane}"
        case Opened(hold_ids):
            return f"opened {hold_ids}"
        case _:
            assert_never(effect)


def _accepted(hold: Hold | None) -> Hold | None:
    return accepted(hold) if hold is not None else None
