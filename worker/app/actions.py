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
from jobs.holds import Hold, HoldPhase, apply_release
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import Scope
from jobs.lifecycle import IllegalTransition, Transition
from jobs.states import State
from worker.clock import Clock
from worker.store import Store
from worker.store.commit import NO_SIDE_WRITES, NewAuditEntry, SideWrites, VersionedJob

MAX_ACTION_TRIES: Final = 50
"""Lost races after which an act gives up: each means that the job moved on meanwhile."""

RELEASE_CHUNK: Final = 200


class NoSuchJob(LookupError):
    """There is no job of that id."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"there is no job {job_id!r}")


class NoSuchHold(LookupError):
    """There is no hold of that id."""

    def __init__(self, hold_id: str) -> None:
        self.hold_id = hold_id
        super().__init__(f"there is no hold {hold_id!r}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and what they say to it."""

    name: str
    note: str = ""


class Actions:
    """Where people act on jobs and gates."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # One job.

    async def cancel(self, job_id: str, actor: Actor) -> Job:
        """Cancel a job: at once, or by asking the provider where it has the run."""
        return await self._apply(
            job_id,
            actor,
            "cancel",
            lambda job, now: cancel_now_or_ask(job, now, by=actor.name, note=actor.note),
        )

    async def park(self, job_id: str, actor: Actor) -> Job:
        """Make a job wait until a person releases it."""
        return await self._apply(
            job_id,
            actor,
            "park",
            lambda job, now: transitions.park_manual(job, now, by=actor.name, note=actor.note),
        )

    async def release(self, job_id: str, actor: Actor) -> Job:
        """Free one parked job; behind a hold that stands it is sent all the same, alone."""
        gates = await self._store.holds.gates()

        def act(job: Job, now: float) -> Job:
            free_pass = gates.closing_hold(job.lane) is not None
            return transitions.release(
                job, now, by=actor.name, note=actor.note, bypass_hold=free_pass
            )

        return await self._apply(job_id, actor, "release", act)

    async def requeue(self, job_id: str, actor: Actor, inputs: bytes | None = None) -> Job:
        """Send a dead letter down the road again, with edited inputs where given."""
        return await self._apply(
            job_id,
            actor,
            "requeue",
            lambda job, now: transitions.requeue(job, now, by=actor.name, note=actor.note),
            SideWrites(inputs=inputs),
        )

    async def discard(self, job_id: str, actor: Actor) -> Job:
        """Give a parked job or dead letter up; it stays on record until retention removes it."""
        return await self._apply(
            job_id,
            actor,
            "discard",
            lambda job, now: transitions.discard(job, now, by=actor.name, note=actor.note),
        )

    async def attach(self, job_id: str, actor: Actor, execution_id: str) -> Job:
        """Resolve an uncertain job: this is its execution."""
        return await self._apply(
            job_id,
            actor,
            "attach",
            lambda job, now: transitions.attach(
                job, now, execution_id, by=actor.name, note=actor.note
            ),
        )

    async def resubmit(self, job_id: str, actor: Actor) -> Job:
        """Resolve an uncertain job: send it again; it may be paid twice."""
        return await self._apply(
            job_id,
            actor,
            "resubmit",
            lambda job, now: transitions.resubmit(job, now, by=actor.name, note=actor.note),
        )

    async def _apply(
        self,
        job_id: str,
        actor: Actor,
        action: str,
        transition: Callable[[Job, float], Job],
        side_writes: SideWrites = NO_SIDE_WRITES,
    ) -> Job:
        for _ in range(MAX_ACTION_TRIES):
            stored = await self._store.jobs.load(job_id)
            if stored is None:
                raise NoSuchJob(job_id)
            now = self._clock.now()
            after = transition(stored.job, now)
            if after is stored.job:
                return after
            line = NewAuditEntry(now, actor.name, action, job_id, actor.note, 1)
            written = await self._store.jobs.commit(
                stored, after, replace(side_writes, audit_entry=line)
            )
            if isinstance(written, VersionedJob):
                return written.job
        raise RuntimeError(
            f"job {job_id} changed {MAX_ACTION_TRIES} times while {action} was tried"
        )

    # Gates.

    async def place_hold(self, scope: Scope, actor: Actor) -> Hold:
        """Pause a scope: nothing is sent for it until a person releases the hold."""
        now = self._clock.now()
        new = Hold(
            id=hold_id(scope, transitions.MANUAL),
            scope=scope,
            code=transitions.MANUAL,
            created_at=now,
            created_by=actor.name,
            note=actor.note,
            message=actor.note,
            action="Paused by a person: release the hold to resume",
        )
        hold = await self._store.holds.change(new.key, lambda standing: standing or new)
        await self._audit(actor, "hold", scope, 0)
        return hold or new

    async def release_hold(
        self, wanted_id: str, actor: Actor, *, audited: bool = True
    ) -> tuple[Hold, int]:
        """Release a hold and the jobs it parked; returns it and how many jobs went back in line.

        A pause ends at once. What a refusal put up lets one canary through and opens in doubling
        steps; refused again, it is back, and the others were never sent. With `on_record` off the
        caller puts it on record, as part of a larger act.
        """
        hold = await self._store.holds.find(wanted_id)
        if hold is None:
            raise NoSuchHold(wanted_id)
        opened = hold
        if hold.code == transitions.MANUAL:
            await self._store.holds.change(hold.key, lambda _: None)
        else:
            now = self._clock.now()
            opened = (
                await self._store.holds.change(
                    hold.key,
                    lambda standing: _release_if_closed(standing, now, actor),
                )
                or hold
            )
        count = await self._release_parked(hold, actor)
        await self._store.client.call("PUBLISH", self._store.keys.wake, hold.scope)
        if audited:
            await self._audit(actor, "release_hold", hold.scope, count)
        return opened, count

    async def _release_parked(self, hold: Hold, actor: Actor) -> int:
        """Put every job that a hold parked back in line; those that moved on are left alone."""
        freed = 0
        while ids := await self._store.jobs.members(Index.HELD, hold.id, RELEASE_CHUNK):
            jobs = [stored for stored in await self._store.jobs.load_many(ids) if stored]
            moved = sum(
                await asyncio.gather(*(self._release_one(stored, hold, actor) for stored in jobs))
            )
            freed += moved
            if not moved:
                break
        return freed

    async def _release_one(self, stored: VersionedJob, hold: Hold, actor: Actor) -> bool:
        note = actor.note or f"hold on {hold.scope} released"
        after = transitions.release(stored.job, self._clock.now(), by=actor.name, note=note)
        return isinstance(await self._store.jobs.commit(stored, after), VersionedJob)

    async def _audit(self, actor: Actor, action: str, target: str, jobs: int) -> None:
        await self._store.audit.record(
            at=self._clock.now(),
            by=actor.name,
            action=action,
            on=target,
            note=actor.note,
            jobs=jobs,
        )


def cancel_now_or_ask(job: Job, now: float, *, by: str, note: str) -> Job:
    """The job after a person cancels it: cancelled, asked for, or itself where it was before."""
    match job.state:
        case State.CANCELLING:
            return job
        case State.SUBMITTING if job.sent_at is None:
            return transitions.cancel(job, now, by=by, note=note)
        case State.SUBMITTING if job.cancel_requested:
            return job
        case State.SUBMITTING | State.RUNNING:
            return transitions.request_cancel(job, now, by=by, note=note)
        case State.PARKED if job.parked_as == transitions.STUCK:
            return transitions.request_cancel(job, now, by=by, note=note)
        case State.DEAD:
            hint = "it is a dead letter; discard or requeue it"
            raise IllegalTransition(job.state, Transition.CANCEL, hint)
        case _:
            return transitions.cancel(job, now, by=by, note=note)


def _release_if_closed(hold: Hold | None, now: float, actor: Actor) -> Hold | None:
    if hold is None or hold.phase is HoldPhase.OPENING:
        return hold
    return apply_release(hold, now, by=actor.name, note=actor.note)
