"""The acts of people: cancel, park, release, requeue, discard, resolve, and the gates.

Each act loads the job, asks the core whether it may happen now, and writes it under precondition;
the line of the audit is written in the same step. A lost race is asked again against what the job
has become.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from jobs import transitions
from jobs.decide import hold_id
from jobs.holds import Hold, Phase, released
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import Scope
from jobs.lifecycle import IllegalMove, Move
from jobs.states import State
from worker.clock import Clock
from worker.store import Store
from worker.store.commit import NOTHING, Act, Extra, Stored

ACT_TRIES: Final = 50
"""Lost races after which an act gives up: each means that the job moved on meanwhile."""

RELEASE_CHUNK: Final = 200


class NoSuchJob(LookupError):
    """There is no job of that id."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"there is no job {job_id!r}")


class NoSuchHold(LookupError):
    """There is no hold of that id."""

    def __init__(self, hold: str) -> None:
        self.hold_id = hold
        super().__init__(f"there is no hold {hold!r}")


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts, and what they say to it."""

    name: str
    note: str = ""


class Desk:
    """Where people act on jobs and gates."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # One job.

    async def cancel(self, job_id: str, person: Person) -> Job:
        """Cancel a job: at once, or by asking the provider where it has the run."""
        return await self._act(
            job_id,
            person,
            "cancel",
            lambda job, now: cancelled(job, now, by=person.name, note=person.note),
        )

    async def park(self, job_id: str, person: Person) -> Job:
        """Make a job wait until a person releases it."""
        return await self._act(
            job_id,
            person,
            "park",
            lambda job, now: transitions.park(job, now, by=person.name, note=person.note),
        )

    async def release(self, job_id: str, person: Person) -> Job:
        """Free one parked job; behind a hold that stands it is sent all the same, alone."""
        gates = await self._store.gates.standing()

        def act(job: Job, now: float) -> Job:
            free_pass = gates.closed_by(job.lane) is not None
            return transitions.release(
                job, now, by=person.name, note=person.note, free_pass=free_pass
            )

        return await self._act(job_id, person, "release", act)

    async def requeue(self, job_id: str, person: Person, inputs: bytes | None = None) -> Job:
        """Send a dead letter down the road again, with edited inputs where given."""
        return await self._act(
            job_id,
            person,
            "requeue",
            lambda job, now: transitions.requeue(job, now, by=person.name, note=person.note),
            Extra(inputs=inputs),
        )

    async def discard(self, job_id: str, person: Person) -> Job:
        """Give a parked job or dead letter up; it stays on record until retention removes it."""
        return await self._act(
            job_id,
            person,
            "discard",
            lambda job, now: transitions.discard(job, now, by=person.name, note=person.note),
        )

    async def attach(self, job_id: str, person: Person, execution_id: str) -> Job:
        """Resolve an uncertain job: this is its execution."""
        return await self._act(
            job_id,
            person,
            "attach",
            lambda job, now: transitions.attach(
                job, now, execution_id, by=person.name, note=person.note
            ),
        )

    async def resubmit(self, job_id: str, person: Person) -> Job:
        """Resolve an uncertain job: send it again; it may be paid twice."""
        return await self._act(
            job_id,
            person,
            "resubmit",
            lambda job, now: transitions.resubmit(job, now, by=person.name, note=person.note),
        )

    async def _act(
        self,
        job_id: str,
        person: Person,
        name: str,
        act: Callable[[Job, float], Job],
        extra: Extra = NOTHING,
    ) -> Job:
        for _ in range(ACT_TRIES):
            stored = await self._store.jobs.load(job_id)
            if stored is None:
                raise NoSuchJob(job_id)
            now = self._clock.now()
            after = act(stored.job, now)
            if after is stored.job:
                return after
            line = Act(now, person.name, name, job_id, person.note, 1)
            written = await self._store.jobs.commit(stored, after, replace(extra, act=line))
            if isinstance(written, Stored):
                return written.job
        raise RuntimeError(f"job {job_id} changed {ACT_TRIES} times while {name} was tried")

    # Gates.

    async def set_hold(self, scope: Scope, person: Person) -> Hold:
        """Pause a scope: nothing is sent for it until a person releases the hold."""
        now = self._clock.now()
        new = Hold(
            id=hold_id(scope, transitions.MANUAL),
            scope=scope,
            code=transitions.MANUAL,
            created_at=now,
            created_by=person.name,
            note=person.note,
            message=person.note,
            action="Paused by a person: release the hold to resume",
        )
        hold = await self._store.gates.change(new.key, lambda standing: standing or new)
        await self._record(person, "hold", scope, 0)
        return hold or new

    async def release_hold(
        self, wanted: str, person: Person, *, on_record: bool = True
    ) -> tuple[Hold, int]:
        """Release a hold and the jobs it parked; returns it and how many jobs went back in line.

        A pause ends at once. What a refusal put up lets one canary through and opens in doubling
        steps; refused again, it is back, and the others were never sent. With `on_record` off the
        caller puts it on record, as part of a larger act.
        """
        hold = await self._store.gates.hold(wanted)
        if hold is None:
            raise NoSuchHold(wanted)
        opened = hold
        if hold.code == transitions.MANUAL:
            await self._store.gates.change(hold.key, lambda _: None)
        else:
            now = self._clock.now()
            opened = (
                await self._store.gates.change(
                    hold.key,
                    lambda standing: _released(standing, now, person),
                )
                or hold
            )
        count = await self._free_parked(hold, person)
        await self._store.client.call("PUBLISH", self._store.keys.wake, hold.scope)
        if on_record:
            await self._record(person, "release_hold", hold.scope, count)
        return opened, count

    async def _free_parked(self, hold: Hold, person: Person) -> int:
        """Put every job that a hold parked back in line; those that moved on are left alone."""
        freed = 0
        while ids := await self._store.jobs.members(Index.HELD, hold.id, RELEASE_CHUNK):
            jobs = [stored for stored in await self._store.jobs.load_many(ids) if stored]
            moved = sum(
                await asyncio.gather(*(self._free(stored, hold, person) for stored in jobs))
            )
            freed += moved
            if not moved:
                break
        return freed

    async def _free(self, stored: Stored, hold: Hold, person: Person) -> bool:
        note = person.note or f"hold on {hold.scope} released"
        after = transitions.release(stored.job, self._clock.now(), by=person.name, note=note)
        return isinstance(await self._store.jobs.commit(stored, after), Stored)

    async def _record(self, person: Person, act: str, on: str, jobs: int) -> None:
        await self._store.audit.record(
            at=self._clock.now(),
            by=person.name,
            act=act,
            on=on,
            note=person.note,
            jobs=jobs,
        )


def cancelled(job: Job, now: float, *, by: str, note: str) -> Job:
    """The job after a person cancels it: cancelled, asked for, or itself where it was before."""
    match job.state:
        case State.CANCELLING:
            return job
        case State.SUBMITTING if job.sent_at is None:
            return transitions.cancel(job, now, by=by, note=note)
        case State.SUBMITTING if job.cancel_requested:
            return job
        case State.SUBMITTING | State.RUNNING:
            return transitions.ask_cancel(job, now, by=by, note=note)
        case State.PARKED if job.parked_as == transitions.STUCK:
            return transitions.ask_cancel(job, now, by=by, note=note)
        case State.DEAD:
            hint = "it is a dead letter; discard or requeue it"
            raise IllegalMove(job.state, Move.CANCEL, hint)
        case _:
            return transitions.cancel(job, now, by=by, note=note)


def _released(standing: Hold | None, now: float, person: Person) -> Hold | None:
    if standing is None or standing.phase is Phase.OPENING:
        return standing
    return released(standing, now, by=person.name, note=person.note)
