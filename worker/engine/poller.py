"""The batch poller: looks at running jobs when their next poll is due.

No task, timer or slot is held for a run that waits: the in-flight set knows them all, and a poll
takes a task only while its request is under way. A claim is a lease: polls of a worker that died
come due again by themselves.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.decide import decide_poll
from jobs.effects import Decision, LookAgain, Looks, Moment
from jobs.holds import Gates
from jobs.indexes import Index, is_watched
from jobs.job import Job
from jobs.lanes import executions
from jobs.outcomes import Finished, Lost, NoLook, PollAnswer, RunFailed
from jobs.states import State
from worker.clock import Clock
from worker.engine.completion import Settling
from worker.engine.poison_guard import Isolation
from worker.engine.poll_planner import Timekeeper
from worker.engine.rate_limiter import Quota
from worker.engine.wakeups import Bell
from worker.engine.webhook_policy import Reliance
from worker.provider.knouds.client import UnknownAccount
from worker.provider.port import CancelAnswer, Trouble
from worker.store import Store
from worker.store.commit import Stored
from worker.store.jobs import Due, NextLook
from worker.tasks import end

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 0.5
"""Longest pause between looks at the in-flight set: other workers add to it."""

BREATH_S: Final = 0.03
"""Least pause between two claims: what is due by then is looked at, and written, together."""

EARLY_S: Final = BREATH_S / 2
"""Polls that fall due so soon are made now: many are then as often early as late, not always late,
and lateness adds up over the looks at a run."""

GATES_S: Final = 0.25
"""How old what is known of the gates may be: a poll too many costs nothing."""

KNOWN_MOST: Final = 12_000
"""Running jobs that are remembered between their polls."""

LOOKS_MOST: Final = 500
"""Next polls written in one call."""

AGAIN_S: Final = 0.2
"""Least pause before a look for which there was no request."""

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
        timekeeper: Timekeeper,
        quota: Quota,
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
        self._timekeeper = timekeeper
        self._quota = quota
        self._at_once = at_once
        self._lease_s = lease_s
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._looked: list[NextLook] = []
        self._known: dict[str, tuple[float, Stored]] = {}
        """Jobs as they were when their next poll was set, with its time."""
        self._standing: tuple[float, Gates] = (float("-inf"), Gates())
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
        lease = now + self._lease_s
        soon = now + EARLY_S
        due, next_poll = await self._store.jobs.claim_polls(soon, lease, free, self._known)
        if due:
            for found in await self._may_look(due, now, lease):
                self._start(found, lease)
        if len(due) == free:
            return IDLE_S
        return IDLE_S if next_poll is None else min(IDLE_S, max(0.0, next_poll - now))

    async def _gates(self, now: float) -> Gates:
        """The gates, read a few times a second at most."""
        read_at, gates = self._standing
        if now >= read_at + GATES_S or now < read_at:
            gates = await self._store.gates.standing()
            self._standing = now, gates
        return gates

    def expect(self, stored: Stored) -> None:
        """Remember a run that was just accepted: its first poll need not read it again."""
        if stored.job.next_poll_at is not None:
            self._known[stored.job.id] = stored.job.next_poll_at, stored

    async def hand_over(self) -> None:
        """Finish the polls that are about to, and let other workers have the rest at once."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=HAND_OVER_S)
        left = list(self._under_way)
        await end(*self._under_way.values())
        if self._flush is not None:
            await asyncio.gather(self._flush, return_exceptions=True)
        await self._store.jobs.poll_now(left, self._clock.now())

    async def _may_look(self, due: Sequence[Due], now: float, lease: float) -> list[Due]:
        """Those for whom there is a request; the others are looked at when there is one again."""
        gates = await self._gates(now)
        accounts: dict[str, list[Due]] = {}
        for found in due:
            if found.stored.job.id not in self._under_way:
                accounts.setdefault(found.stored.job.account, []).append(found)
        allowed: list[Due] = []
        for account, ours in accounts.items():
            route = executions(account)
            cooling = gates.cooling([route], now)
            count = 0 if cooling else await self._quota.take_looks(route, len(ours), now)
            allowed += ours[:count]
            reset_at = cooling.until if cooling else self._quota.known(route).reset_at
            at = max(now + AGAIN_S, reset_at or 0.0)
            for found in ours[count:]:
                look = NextLook(found.stored.job, at + self._clock.jitter(), found.looks, lease)
                self._look_again(found.stored, look)
        return allowed

    def _start(self, found: Due, lease: float) -> None:
        job = found.stored.job
        task = asyncio.create_task(self._look(found, lease), name=f"poll {job.id}")
        self._under_way[job.id] = task
        task.add_done_callback(lambda done: self._finished(job.id, done))

    def _finished(self, job_id: str, task: asyncio.Task[None]) -> None:
        del self._under_way[job_id]
        if len(self._under_way) >= self._at_once - 1:
            self.bell.ring()
        if not task.cancelled():
            task.exception()

    async def _look(self, found: Due, lease: float) -> None:
        try:
            await self._perform(found, lease)
        except (RedisError, OSError) as error:
            log.warning("poll.interrupted", job_id=found.stored.job.id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._isolation.strike(found.stored.job.id, error)

    async def _perform(self, found: Due, lease: float) -> None:
        stored, looks = found.stored, found.looks
        job = stored.job
        if not is_watched(job) or job.execution_id is None:
            self._quota.settle(executions(job.account))
            await self._store.jobs.strike(stored, Index.INFLIGHT)
            return
        if job.state is State.CANCELLING and not job.cancel_sent:
            stored = await self._cancel(stored)
            job = stored.job
        try:
            answer = await self._provider.poll(job.account, job.execution_id or "")
        except UnknownAccount as error:
            answer = NoLook(str(error))
        finally:
            self._quota.settle(executions(job.account))
        self._store.tally.polled(answer)
        moved = await self.take(stored, answer, looks, lease)
        if moved is not None:
            self._count_delay(moved.job, looks.running_at or job.submitted_at)
            await self._found_ended(job, moved.job)

    def _count_delay(self, after: Job, running_at: float | None) -> None:
        """It ended between the last look that found it running and now: count the most it was."""
        if running_at is not None and not is_watched(after):
            self._store.tally.found_ended("poll", after.updated_at - running_at)

    async def _found_ended(self, before: Job, after: Job) -> None:
        """A poll saw the end that a webhook was to tell: those to come change nothing any more."""
        unknown = is_watched(after) or after.parked_as == transitions.UNCERTAIN
        if unknown or not before.webhook or not self._reliance.receives:
            return
        came = await self._store.webhooks.note_ended(before.execution_id or "")
        if not came and before.state is State.RUNNING:
            self._reliance.missed(before.account)

    async def take(
        self, stored: Stored, answer: PollAnswer, looks: Looks, lease: float | None = None
    ) -> Stored | None:
        """Write what a look at a run showed, whoever looked; returns the job if that moved it.

        `lease`: the claim it was looked at under; who touched the job since has the last word.
        """
        execution_id, found_at = stored.job.execution_id, self._clock.now()
        again: LookAgain | None = None

        def decide(job: Job, now: float) -> Decision | None:
            nonlocal again
            late = job.parked_as == transitions.UNCERTAIN and isinstance(answer, Finished)
            if job.execution_id != execution_id or not (is_watched(job) or late):
                return None
            webhook = job.webhook and job.state is State.RUNNING
            cancelling = job.state is State.CANCELLING
            rules = self._reliance.rules(job.lane, webhook=webhook, cancelling=cancelling)
            moment = Moment(now, self._clock.jitter(), rules)
            outcome = decide_poll(job, answer, looks, moment)
            if isinstance(outcome, LookAgain):
                again = outcome
                return Decision(job, outcome.effects)
            again = None
            return outcome

        settled = await self._settling.settle(stored, decide)
        if settled is not None and again is not None:
            self._look_again(settled, NextLook(settled.job, again.at, again.looks, lease))
            return None
        self._known.pop(stored.job.id, None)
        if settled is not None and isinstance(answer, Finished | RunFailed | Lost):
            self._note_end(stored.job, found_at, None if lease is None else looks)
        return settled

    def _note_end(self, job: Job, at: float, looks: Looks | None) -> None:
        """How long the run took; without looks of ours a webhook told of its end."""
        if looks is None:
            self._timekeeper.told(job, at)
        else:
            self._timekeeper.looked(job, at, looks.running_at)

    async def _cancel(self, stored: Stored) -> Stored:
        """Pass a person's wish on to the provider, once."""
        job = stored.job
        answer = await self._provider.cancel(job.account, job.execution_id or "")
        if isinstance(answer, Trouble) and not _is_final(answer):
            log.warning("cancel.unheard", job_id=job.id, why=answer.why)
            return stored
        now = self._clock.now()
        written = await self._store.jobs.commit(stored, transitions.note_cancel_sent(job, now))
        return written if isinstance(written, Stored) else stored

    def _look_again(self, stored: Stored, look: NextLook) -> None:
        """Next polls are written together, in one round trip.

        Only a job that was claimed is remembered: the time of another's next poll is not ours.
        """
        self._known.pop(look.job.id, None)
        if look.lease is not None:
            self._known[look.job.id] = look.at, stored
        self._looked.append(look)
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write_looks())

    async def _write_looks(self) -> None:
        while self._looked:
            looked, self._looked = self._looked[:LOOKS_MOST], self._looked[LOOKS_MOST:]
            await self._settling.patiently(self._store.jobs.reschedule, looked)
            if looked and min(look.at for look in looked) < self._clock.now() + IDLE_S:
                self.bell.ring()
        while len(self._known) > KNOWN_MOST:
            del self._known[next(iter(self._known))]


def _is_final(trouble: Trouble) -> bool:
    """Whether asking again to cancel would get the same refusal (a 4xx that is no 429)."""
    status = trouble.http_status or 0
    return 400 <= status < 500 and status != 429  # noqa: PLR2004
