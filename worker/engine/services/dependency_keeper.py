"""The dependency keeper: queues jobs once those that they wait for have succeeded."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, NamedTuple, assert_never

import msgspec

from jobs.dependencies.parents import CHECK_INTERVAL_S, ParentsState, assess_parents
from jobs.dependencies.references import BadReference, ResultMissing, references_in, resolve
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from jobs.payloads import MissingPayload
from jobs.start_by import is_expired
from jobs.states import State
from jobs.tenants import tenant_job_id, tenant_of
from jobs.transitions import (
    check_parents_later,
    park_for_parent,
    park_for_result,
    park_inputs_lost,
    promote_child,
)
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup, Wakeups
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused, NewerRecord, StoredRecord, UnreadableRecord
from worker.store.side_writes import ANY_EPOCH, NO_SIDE_WRITES, SideWrites

TICK_S: Final = 1.0
LEASE_S: Final = 10.0
PARENTS_AT_ONCE: Final = 20
CHILDREN_AT_ONCE: Final = 200
"""Jobs that one round reads and moves on, with their inputs."""

RESULTS_KEPT: Final = 8
"""Results that are kept while the children of one round take from them."""


class _Parent(NamedTuple):
    """What matters of a parent."""

    state: State | None
    """None: it is not on record."""
    is_result_cut: bool = False


class DependencyKeeper:
    """Moves on jobs that wait for others; one of all workers does it.

    The end of a parent names it in an index, and a new job whose parents have ended is due at once.
    Both only ask for a look: what is done follows from the records.
    """

    name = "dependency_keeper"

    def __init__(
        self, store: Store, wakeups: Wakeups, worker_id: str, max_inputs_bytes: int
    ) -> None:
        self._store = store
        self._wakeups = wakeups
        self._worker_id = worker_id
        self._max_inputs_bytes = max_inputs_bytes
        self._first: dict[str, int] = {}
        """Of a parent with many children: how many of those that it looked at still wait."""
        self._read_results: OrderedDict[str, bytes | None] = OrderedDict()

    @property
    def wakeup(self) -> Wakeup:
        """Ends the pause between two ticks early."""
        return self._wakeups.dependencies

    async def tick(self, now: float) -> float:
        """Move some jobs on; returns 0 seconds while there are more."""
        settled, due = await self._store.dependencies.work(now, PARENTS_AT_ONCE, CHILDREN_AT_ONCE)
        if not (settled or due):
            self._first.clear()
            return TICK_S
        if not await self._store.dependencies.claim(self._worker_id, LEASE_S):
            return TICK_S
        is_done = len(settled) < PARENTS_AT_ONCE and len(due) < CHILDREN_AT_ONCE
        await self._move_on(due, now)
        for parent, at in settled:
            if not await self._move_children_on(JobId(parent), at, now):
                is_done = False
        self._read_results.clear()
        return TICK_S if is_done else 0.0

    async def _move_children_on(self, parent: JobId, at: float, now: float) -> bool:
        """Move on some children of a parent that settled at a time; whether these were the last."""
        first = self._first.get(parent, 0)
        ids = await self._store.jobs.members(
            Index.WAITING_CHILDREN, parent, CHILDREN_AT_ONCE, first
        )
        moved = await self._move_on(ids, now)
        if len(ids) == CHILDREN_AT_ONCE:
            self._first[parent] = first + len(ids) - moved
            return False
        self._first.pop(parent, None)
        await self._store.dependencies.mark_seen(parent, at)
        return True

    async def _move_on(self, ids: Sequence[JobId], now: float) -> int:
        """Do with some jobs what the states of their parents ask for; how many wait no more."""
        found: list[VersionedJob] = []
        for job_id, stored in zip(ids, await load_jobs(self._store.jobs, ids, now), strict=True):
            if stored is None:
                await self._store.jobs.remove_entry_without_record(Index.WAITING, "", job_id)
            elif stored.job.state is State.WAITING:
                found.append(stored)
            else:
                await self._store.jobs.remove_stale_entry(stored, Index.WAITING)
        parents = await self._parents(found)
        commits: list[Awaitable[VersionedJob | CommitRefused]] = []
        for stored in found:
            after, side_writes = await self._decide(stored.job, parents, now)
            if after is not stored.job:
                commits.append(self._store.jobs.commit(stored, after, side_writes))
        written = [one for one in await asyncio.gather(*commits) if isinstance(one, VersionedJob)]
        moved = [one.job.state for one in written if one.job.state is not State.WAITING]
        if State.QUEUED in moved:
            self._wakeups.admission.notify()
        return len(moved)

    async def _parents(self, children: Sequence[VersionedJob]) -> dict[str, _Parent]:
        ids = list(dict.fromkeys(one for child in children for one in child.job.after))
        records = await self._store.jobs.read_many(ids)
        return {job_id: _parent(record) for job_id, record in zip(ids, records, strict=True)}

    async def _decide(
        self, job: Job, parents: Mapping[str, _Parent], now: float
    ) -> tuple[Job, SideWrites]:
        """The next version of a job, itself where nothing changes, and what is written with it.

        One whose `start_by` has passed is left to the expirer, which cancels it.
        """
        if is_expired(job, now):
            return job, NO_SIDE_WRITES
        finding = assess_parents(job.after, {one: parents[one].state for one in job.after})
        match finding.state:
            case ParentsState.GONE:
                return park_for_parent(job, now, finding.text), NO_SIDE_WRITES
            case ParentsState.SUCCEEDED if (job.scheduled_for or 0.0) <= now:
                return await self._promoted(job, parents, now)
            case ParentsState.SUCCEEDED:
                check_at = job.scheduled_for or now
            case ParentsState.OPEN:
                is_due = (job.parents_check_at or 0.0) <= now
                check_at = now + CHECK_INTERVAL_S if is_due else job.parents_check_at or now
            case _:
                assert_never(finding.state)
        if check_at == job.parents_check_at:
            return job, NO_SIDE_WRITES
        return check_parents_later(job, now, check_at), NO_SIDE_WRITES

    async def _promoted(
        self, job: Job, parents: Mapping[str, _Parent], now: float
    ) -> tuple[Job, SideWrites]:
        """The job queued, with inputs that are complete; parked where they cannot be."""
        inputs: bytes | None = None
        if job.takes_results:
            stored = await self._store.payloads.read(job.id)
            if stored.inputs is None:
                why = stored.inputs_problem or MissingPayload.LOST
                return park_inputs_lost(job, now, why), NO_SIDE_WRITES
            try:
                inputs = resolve(stored.inputs, await self._results(job, stored.inputs, parents))
            except (ResultMissing, BadReference) as error:
                return park_for_result(job, now, str(error)), NO_SIDE_WRITES
            except (msgspec.MsgspecError, RecursionError):
                text = "a result that it takes from cannot be read, or is nested too deep"
                return park_for_result(job, now, text), NO_SIDE_WRITES
            if len(inputs) > self._max_inputs_bytes:
                text = (
                    f"with what they take from results its inputs are {len(inputs)} bytes of JSON,"
                    f" and may be {self._max_inputs_bytes} (KNOUDS_MAX_INPUTS_BYTES)"
                )
                return park_for_result(job, now, text), NO_SIDE_WRITES
        return promote_child(job, now), SideWrites(inputs=inputs, data_epoch=ANY_EPOCH)

    async def _results(
        self, job: Job, inputs: bytes, parents: Mapping[str, _Parent]
    ) -> dict[str, bytes]:
        """The results that inputs take from, by the ids that the app knows."""
        found: dict[str, bytes] = {}
        for reference in references_in(inputs):
            parent = tenant_job_id(tenant_of(job.id), reference.job_id)
            if parent in parents and parents[parent].is_result_cut:
                text = f"the result of job {reference.job_id} was too large to keep in full"
                raise ResultMissing(reference, text)
            if (result := await self._result(parent)) is not None:
                found[reference.job_id] = result
        return found

    async def _result(self, parent: JobId) -> bytes | None:
        if parent not in self._read_results:
            self._read_results[parent] = (await self._store.payloads.read(parent)).result
            while len(self._read_results) > RESULTS_KEPT:
                self._read_results.popitem(last=False)
        return self._read_results[parent]


def _parent(record: StoredRecord | None) -> _Parent:
    match record:
        case None:
            return _Parent(None)
        case VersionedJob():
            return _Parent(record.job.state, record.job.result_note is not None)
        case NewerRecord():
            return _Parent(record.shown.state)
        case UnreadableRecord():
            return _Parent(State.DEAD)
        case _:
            assert_never(record)
