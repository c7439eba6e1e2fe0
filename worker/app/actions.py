"""Actions of operators on one job (see `action_table`), and on the hold of a scope.

Each action loads the job, applies the transition, and commits it on the version that was loaded;
the audit entry is written in the same atomic step. When another process was faster, the action is
tried again on the job as it is then.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, assert_never

import msgspec

from jobs import transitions
from jobs.holds import Canary, Gates, Hold, HoldPhase, apply_release, hold_id
from jobs.indexes import Index
from jobs.job import MANUAL, STUCK, Job
from jobs.lanes import JobId, Scope
from jobs.lifecycle import IllegalTransition, Transition
from jobs.newer import is_newer_gate
from jobs.states import State
from jobs.unreadable_holds import is_unreadable_hold, readable_hold
from worker.app.action_table import HoldAction, JobAction, WorkerAction
from worker.app.changed_inputs import changed_inputs
from worker.app.enqueue_guard import too_many_holds
from worker.app.extras import extra_or
from worker.app.shown_ids import shown_job_id, shown_owner
from worker.clock import Clock
from worker.engine.paid_runs import paid_runs
from worker.engine.unreadable_records import load_job, load_jobs
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.schema import NewerRecordError
from worker.store.side_writes import ANY_EPOCH, NewAuditEntry, SideWrites
from worker.store.workers import Heartbeat

MAX_ACTION_TRIES: Final = 50
"""Tries of an action: each lost race means that another process changed the job."""

RELEASE_CHUNK: Final = 200

MAX_CANARY_POLLS: Final = 3
"""Paid runs that are polled when a hold is released whose canary is a poll."""


class NoSuchJob(LookupError):
    """There is no job of that id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {shown_job_id(job_id)!r}")


class RunTaken(Exception):
    """The execution is the run of another job."""

    def __init__(self, execution_id: str, owner: str | None) -> None:
        self.owner = shown_owner(owner)
        """As the caller names it; None: it is not known, or of another tenant."""
        super().__init__(
            f"execution {execution_id} is the run of job {self.owner or 'another one'}: attach the"
            " job's own execution, or resubmit or discard the job"
        )


class PayloadsErased(Exception):
    """The inputs of a job were erased, so it cannot be sent."""

    def __init__(self, job: Job) -> None:
        self.state = job.state
        super().__init__(
            "its inputs were erased, so the job cannot be sent again: enqueue a new job"
        )


class NoSuchHold(LookupError):
    """There is no hold of that id."""

    def __init__(self, hold_id: str) -> None:
        self.hold_id = hold_id
        super().__init__(f"there is no hold {hold_id!r}")


class NoSuchWorker(LookupError):
    """There is no worker of that id."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        super().__init__(f"there is no worker {worker_id!r}: GET /v1/stats lists them")


@dataclass(frozen=True, slots=True)
class Actor:
    """The operator who acts, with the note for the audit."""

    name: str
    note: str = ""


class Actions:
    """Performs what an operator asks for, on one job or one scope.

    `receives_webhooks`: deliveries are stored, so an attached run takes over those of its id.
    """

    def __init__(self, store: Store, clock: Clock, *, receives_webhooks: bool = False) -> None:
        self._store = store
        self._clock = clock
        self._receives_webhooks = receives_webhooks

    # One job.

    async def act(
        self,
        action: JobAction,
        job_id: str,
        actor: Actor,
        *,
        inputs: bytes | None = None,
        execution_id: str = "",
    ) -> Job:
        """Perform an action on a job; returns the job after it.

        `inputs` (JSON) replace those of a job that is requeued or released; `execution_id` is what
        is attached. A parked job that is released through a closed hold is sent alone. Raises
        `NoSuchJob`, `NewerRecordError`, `IllegalTransition`, `PayloadsErased` for one that would
        be sent without inputs, and `RunTaken` for an attached run of another job.
        """
        gates = await self._store.holds.gates() if action is JobAction.RELEASE else Gates()
        for _ in range(MAX_ACTION_TRIES):
            stored = await load_job(self._store.jobs, job_id, self._clock.now())
            if stored is None:
                raise NoSuchJob(job_id)
            now = self._clock.now()
            after = apply_action(
                action,
                stored.job,
                now,
                actor,
                execution_id=execution_id,
                bypass_hold=gates.closing_hold(stored.job.lane) is not None,
                has_new_inputs=inputs is not None,
            )
            if after is stored.job:
                return after
            if after.state is State.QUEUED and await self._store.payloads.erased([job_id]):
                raise PayloadsErased(stored.job)
            changed = ""
            if inputs is not None:
                before = (await self._store.payloads.read(job_id)).inputs
                changed = changed_inputs(before, inputs, self._store.audit)
            entry = NewAuditEntry(now, actor.name, action, job_id, actor.note, 1, changed)
            side_writes = SideWrites(inputs, audit_entry=entry, data_epoch=ANY_EPOCH)
            written = await self._store.jobs.commit(stored, after, side_writes)
            if isinstance(written, VersionedJob):
                if action is JobAction.ATTACH and self._receives_webhooks:
                    now = self._clock.now()  # without its deliveries, polls find the run's end
                    await extra_or(None, self._store.webhooks.attach(execution_id, job_id, now))
                return written.job
            if written is CommitRefused.RUN_TAKEN:
                owner = await self._store.webhooks.run_owner(execution_id)
                raise RunTaken(execution_id, owner)
        raise RuntimeError(
            f"job {job_id} changed {MAX_ACTION_TRIES} times while {action} was tried"
        )

    # Holds.

    async def place_hold(self, scope: Scope, actor: Actor) -> Hold:
        """Pause a scope: nothing is sent in it until an operator releases the hold.

        Returns the hold; the one that exists already, where the scope is paused. Raises
        `LimitReached` for a target where `MAX_HOLDS` stand.
        """
        now = self._clock.now()
        new = Hold(
            id=hold_id(scope, MANUAL),
            scope=scope,
            code=MANUAL,
            created_at=now,
            created_by=actor.name,
            note=actor.note,
            message=actor.note,
            action="Paused by an operator: release the hold to resume",
        )
        if await self._store.holds.is_too_many(new):
            raise too_many_holds("no target is paused by itself; its route and account can be")
        hold = await self._store.holds.change(
            new.key,
            lambda current: new if current is None or is_unreadable_hold(current) else current,
        )
        _refuse_newer(hold)
        await self._audit(actor, HoldAction.SET_HOLD, scope, 0)
        return hold or new

    async def release_hold(
        self, wanted_id: str, actor: Actor, *, audited: bool = True
    ) -> tuple[Hold, int]:
        """Release a hold and the jobs it parked; returns it and how many jobs are queued again.

        A pause ends at once. A hold of a refusal lets one canary through and then opens in doubling
        steps; when the canary is refused, it closes again, and the other jobs were never sent.
        Without `audited` the caller writes the audit entry, as part of a larger action. Raises
        `NoSuchHold`.
        """
        hold = await self._store.holds.find(wanted_id)
        if hold is None:
            raise NoSuchHold(wanted_id)
        _refuse_newer(hold)
        opened = hold
        is_gone = is_unreadable_hold(hold) and await self._store.holds.remove_nameless(hold.id)
        if hold.is_manual:
            await self._store.holds.change(hold.key, lambda _: None)
        elif not is_gone:
            opened = await self._open(hold, actor)
        count = await self._release_parked(hold, actor)
        await self._store.lanes.make_due(hold.scope, self._clock.now())
        await self._store.lanes.notify(hold.scope)
        if audited:
            await self._audit(actor, HoldAction.RELEASE_HOLD, hold.scope, count)
        return opened, count

    async def _open(self, hold: Hold, actor: Actor) -> Hold:
        """Open a hold for its canary: a poll of paid runs is made now, a submit when it may."""
        polled = await self._canary_polls(hold)
        now, is_polled = self._clock.now(), bool(polled)
        opened = await self._store.holds.change(
            hold.key, lambda current: _release_if_closed(current, now, actor, is_polled=is_polled)
        )
        await self._store.polls.make_due(polled, now)
        return opened or hold

    async def _canary_polls(self, hold: Hold) -> list[JobId]:
        """A few paid runs of the hold's account, if its canary is a poll."""
        if hold.canary is not Canary.POLL:
            return []
        async for ids in paid_runs(self._store.jobs, hold.scope):
            if ids:
                return ids[:MAX_CANARY_POLLS]
        return []

    async def _release_parked(self, hold: Hold, actor: Actor) -> int:
        """Queue every job that a hold parked; jobs that changed meanwhile are left as they are."""
        total = 0
        while ids := await self._store.jobs.members(Index.HELD, hold.id, RELEASE_CHUNK):
            found = await load_jobs(self._store.jobs, ids, self._clock.now())
            jobs = [stored for stored in found if stored]
            released = sum(
                await asyncio.gather(*(self._release_one(stored, hold, actor) for stored in jobs))
            )
            total += released
            if not released:
                break
        return total

    async def _release_one(self, stored: VersionedJob, hold: Hold, actor: Actor) -> bool:
        note = actor.note or f"hold on {hold.scope} released"
        after = transitions.release(stored.job, self._clock.now(), by=actor.name, note=note)
        needs_data = SideWrites(data_epoch=ANY_EPOCH)
        written = await self._store.jobs.commit(stored, after, needs_data)
        return isinstance(written, VersionedJob)

    # Workers.

    async def drain_worker(self, worker_id: str, actor: Actor) -> Heartbeat:
        """Take a worker out of service: it admits nothing more, and finishes what it has.

        It follows at once, or with its next heartbeat, within a third of a lease, if the message is
        lost. Returns its last heartbeat; raises `NoSuchWorker`.
        """
        found = await self._find_worker(worker_id)
        await self._store.workers.drain(worker_id, self._clock.now())
        await self._audit(actor, WorkerAction.DRAIN, worker_id, 0)
        return msgspec.structs.replace(found, drained=True)

    async def undo_drain(self, worker_id: str, actor: Actor) -> Heartbeat:
        """Let a drained worker admit jobs again, as fast as `drain_worker`.

        Returns its last heartbeat; raises `NoSuchWorker`.
        """
        found = await self._find_worker(worker_id)
        await self._store.workers.undo_drain(worker_id)
        await self._audit(actor, WorkerAction.UNDO_DRAIN, worker_id, 0)
        return msgspec.structs.replace(found, drained=False)

    async def _find_worker(self, worker_id: str) -> Heartbeat:
        heartbeats = await self._store.workers.heartbeats()
        found = next((beat for beat in heartbeats if beat.id == worker_id), None)
        if found is None:
            raise NoSuchWorker(worker_id)
        return found

    async def _audit(
        self, actor: Actor, action: HoldAction | WorkerAction, on: str, jobs: int
    ) -> None:
        await self._store.audit.record(
            NewAuditEntry(
                at=self._clock.now(),
                by=actor.name,
                action=action,
                on=on,
                note=actor.note,
                jobs=jobs,
            )
        )


def apply_action(
    action: JobAction,
    job: Job,
    now: float,
    actor: Actor,
    *,
    execution_id: str = "",
    bypass_hold: bool = False,
    has_new_inputs: bool = False,
) -> Job:
    """The job after an action; itself where the action changes nothing.

    Raises `IllegalTransition` where the job's state does not allow it.
    """
    by, note = actor.name, actor.note
    match action:
        case JobAction.CANCEL:
            return _cancel_now_or_ask(job, now, by=by, note=note)
        case JobAction.PARK:
            return transitions.park_manual(job, now, by=by, note=note)
        case JobAction.RELEASE:
            return transitions.release(
                job,
                now,
                by=by,
                note=note,
                bypass_hold=bypass_hold,
                has_new_inputs=has_new_inputs,
            )
        case JobAction.REQUEUE:
            return transitions.requeue(job, now, by=by, note=note)
        case JobAction.DISCARD:
            return transitions.discard(job, now, by=by, note=note)
        case JobAction.ATTACH:
            return transitions.attach(job, now, execution_id, by=by, note=note)
        case JobAction.RESUBMIT:
            return transitions.resubmit(job, now, by=by, note=note)
        case _:
            assert_never(action)


def _cancel_now_or_ask(job: Job, now: float, *, by: str, note: str) -> Job:
    """The job cancelled; with the request to cancel it, where the provider may have its run."""
    match job.state:
        case State.CANCELLING:
            return job
        case State.SUBMITTING if job.sent_at is None:
            return transitions.cancel(job, now, by=by, note=note)
        case State.SUBMITTING if job.cancel_requested:
            return job
        case State.SUBMITTING | State.RUNNING:
            return transitions.request_cancel(job, now, by=by, note=note)
        case State.PARKED if job.parked_as == STUCK:
            return transitions.request_cancel(job, now, by=by, note=note)
        case State.DEAD:
            hint = "it is a dead letter; discard or requeue it"
            raise IllegalTransition(job.state, Transition.CANCEL, hint)
        case State.SCHEDULED | State.WAITING | State.QUEUED | State.RETRYING | State.PARKED:
            return transitions.cancel(job, now, by=by, note=note)
        case State.SUCCEEDED | State.CANCELLED:
            raise IllegalTransition(job.state, Transition.CANCEL)
        case _:
            assert_never(job.state)


def _refuse_newer(hold: Hold | None) -> None:
    """Raise `NewerRecordError` for a hold that a newer version wrote."""
    if hold is not None and is_newer_gate(hold):
        raise NewerRecordError("the hold", hold.key, hold.message)


def _release_if_closed(
    hold: Hold | None, now: float, actor: Actor, *, is_polled: bool
) -> Hold | None:
    """The hold, released; one whose canary is a poll can be released again, for another poll."""
    if hold is None or (hold.phase is HoldPhase.OPENING and hold.canary is Canary.SUBMIT):
        return hold
    hold = readable_hold(hold, now)
    return apply_release(hold, now, by=actor.name, note=actor.note, is_polled=is_polled)
