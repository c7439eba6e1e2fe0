"""The batch poller: looks at running jobs when their next poll is due.

No task, timer or slot is held for a run that waits: the in-flight set knows them all, and a poll
takes a task only while its request is under way. A claim is a lease: polls of a worker that died
come due again by themselves.
"""

import asyncio
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs import moves
from jobs.answers import Finished, NoLook, PollAnswer
from jobs.decide import Decision, LookAgain, Looks, Moment, decide_poll
from jobs.holds import Gates
from jobs.lanes import executions
from jobs.places import Index, is_watched
from jobs.records import Job
from jobs.states import State
from worker.clock import Clock
from worker.endings import end
from worker.engine.bells import Bell
from worker.engine.isolation import Isolation
from worker.engine.reliance import Reliance
from worker.engine.settling import Settling
from worker.provider.answers import CancelAnswer, Trouble
from worker.provider.client import UnknownAccount
from worker.store import Store
from worker.store.changes import Stored
from worker.store.jobs import Due

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 0.5
"""Longest pause between looks at the in-flight set: other workers add to it."""

HAND_OVER_S: Final = 1.0
"""How long a worker that stops waits for answers to its polls."""


class LooksAtRuns(Protocol):
    """What the poller needs of the provider's client."""

    async def poll(self, account: str, execution_id: str) -> PollAnswer:
        """Look at a run."""
        ...

    async def cancel(self, account: str, execution_id: str) -> CancelAnswer:
        """Ask to cancel a run; harmless to repeat."""
        ...


class Poller:
    """Polls what is due, at most so many at once."""

    name = "poller"

    def __init__(
        self,
        *,
        store: Store,
        provider: LooksAtRuns,
        settling: Settling,
        isolation: Isolation,
        clock: Clock,
        bell: Bell,
        reliance: Reliance,
        at_once: int,
        lease_s: float,
    ) -> None:
        self._store = store
        self._provider = provider
        self._settling = settling
        self._isolation = isolation
        self._clock = clock
        self.bell = bell
        self._reliance = reliance
        self._at_once = at_once
        self._lease_s = lease_s
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._looked: list[tuple[Job, float, Looks]] = []
        self._flush: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> int:
        """Polls whose request is under way."""
        return len(self._under_way)

    async def tick(self, now: float) -> float:
        """Claim what is due and look at it; returns the seconds until the next poll is due."""
        free = self._at_once - len(self._under_way)
        if free <= 0:
            return IDLE_S
        due = await self._store.jobs.claim_polls(now, now + self._lease_s, free)
        if due:
            gates = await self._store.gates.standing()
            for found in due:
                self._start(found, gates, now)
        if len(due) == free:
            return IDLE_S
        next_poll = await self._store.jobs.next_poll()
        return IDLE_S if next_poll is None else min(IDLE_S, max(0.01, next_poll - now))

    async def hand_over(self) -> None:
        """Finish the polls that are about to, and let other workers have the rest at once."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=HAND_OVER_S)
        left = list(self._under_way)
        await end(*self._under_way.values())
        if self._flush is not None:
            await asyncio.gather(self._flush, return_exceptions=True)
        await self._store.jobs.poll_now(left, self._clock.now())

    def _start(self, found: Due, gates: Gates, now: float) -> None:
        job = found.stored.job
        if job.id in self._under_way:
            return
        cooling = gates.cooling([executions(job.account)], now)
        if cooling is not None:
            self._look_again(job, cooling.until + self._clock.jitter(), found.looks)
            return
        task = asyncio.create_task(self._look(found), name=f"poll {job.id}")
        self._under_way[job.id] = task
        task.add_done_callback(lambda done: self._finished(job.id, done))

    def _finished(self, job_id: str, task: asyncio.Task[None]) -> None:
        del self._under_way[job_id]
        if len(self._under_way) >= self._at_once - 1:
            self.bell.ring()
        if not task.cancelled():
            task.exception()

    async def _look(self, found: Due) -> None:
        try:
            await self._perform(found)
        except (RedisError, OSError) as error:
            log.warning("poll.interrupted", job_id=found.stored.job.id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._isolation.strike(found.stored.job.id, error)

    async def _perform(self, found: Due) -> None:
        stored, looks = found.stored, found.looks
        job = stored.job
        if not is_watched(job) or job.execution_id is None:
            await self._store.jobs.strike(stored, Index.INFLIGHT)
            return
        if job.state is State.CANCELLING and not job.cancel_sent:
            stored = await self._cancel(stored)
            job = stored.job
        try:
            answer = await self._provider.poll(job.account, job.execution_id or "")
        except UnknownAccount as error:
            answer = NoLook(str(error))
        moved = await self.take(stored, answer, looks)
        if moved is not None:
            await self._found_ended(job, moved.job)

    async def _found_ended(self, before: Job, after: Job) -> None:
        """A poll saw the end that a webhook was to tell: those to come change nothing any more."""
        unknown = is_watched(after) or after.parked_as == moves.UNCERTAIN
        if unknown or not before.webhook or not self._reliance.receives:
            return
        came = await self._store.webhooks.note_ended(before.execution_id or "")
        if not came and before.state is State.RUNNING:
            self._reliance.missed(before.account)

    async def take(self, stored: Stored, answer: PollAnswer, looks: Looks) -> Stored | None:
        """Write what a look at a run showed, whoever looked; returns the job if that moved it."""
        execution_id = stored.job.execution_id
        again: LookAgain | None = None

        def decide(job: Job, now: float) -> Decision | None:
            nonlocal again
            late = job.parked_as == moves.UNCERTAIN and isinstance(answer, Finished)
            if job.execution_id != execution_id or not (is_watched(job) or late):
                return None
            webhook = job.webhook and job.state is State.RUNNING
            rules = self._reliance.rules(job.account, webhook=webhook)
            moment = Moment(now, self._clock.jitter(), rules)
            outcome = decide_poll(job, answer, looks, moment)
            if isinstance(outcome, LookAgain):
                again = outcome
                return Decision(job, outcome.effects)
            again = None
            return outcome

        settled = await self._settling.settle(stored, decide)
        if settled is not None and again is not None:
            self._look_again(settled.job, again.at, again.looks)
            return None
        return settled

    async def _cancel(self, stored: Stored) -> Stored:
        """Pass a person's wish on to the provider, once."""
        job = stored.job
        answer = await self._provider.cancel(job.account, job.execution_id or "")
        if isinstance(answer, Trouble) and not _is_final(answer):
            log.warning("cancel.unheard", job_id=job.id, why=answer.why)
            return stored
        now = self._clock.now()
        written = await self._store.jobs.commit(stored, moves.note_cancel_sent(job, now))
        return written if isinstance(written, Stored) else stored

    def _look_again(self, job: Job, at: float, looks: Looks) -> None:
        """Next polls are written together, in one round trip."""
        self._looked.append((job, at, looks))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write_looks())

    async def _write_looks(self) -> None:
        while self._looked:
            looked, self._looked = self._looked, []
            await self._settling.patiently(self._store.jobs.reschedule, looked)
            self.bell.ring()


def _is_final(trouble: Trouble) -> bool:
    """Whether asking again to cancel would get the same refusal (a 4xx that is no 429)."""
    status = trouble.http_status or 0
    return 400 <= status < 500 and status != 429  # noqa: PLR2004
