"""The acts of people on all jobs that a filter admits: release, requeue, discard, cancel.

Each job is written by itself, under the precondition that it still is what was judged; a job that
moved on meanwhile is judged again, and skipped where it no longer fits. So a call that broke off is
simply repeated. A call is put on record once, with the number of jobs it touched.

**Release** never hands out free passes: by id a job is sent alone through a closed gate, but by
filter hundreds would be. What a standing hold parked goes back in line through the hold, which lets
one canary through and opens in doubling steps. Since an open gate is open for all, a hold is
released only where the filter covers everything that waits for it: the jobs it parked, and those
queued behind it. Otherwise it and its jobs are left alone, and the answer says which hold to
release. All other parked jobs go back in line, where any gate that is closed keeps them waiting.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from jobs import transitions
from jobs.holds import Hold, Phase
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import covers
from jobs.lifecycle import IllegalMove
from jobs.states import SETTLED, State
from worker.app.actions import ACT_TRIES, Desk, NoSuchHold, Person, cancelled
from worker.app.bulk_request import SWEEPS, Act, Counts, Order, merge
from worker.app.enqueue import SPACING_S, BadOrder
from worker.app.job_request_parser import encode_inputs
from worker.clock import Clock
from worker.store import Store
from worker.store.codec import BROKEN, decode
from worker.store.commit import Extra, Stored
from worker.tasks import see_through

CHUNK: Final = 200
"""Jobs read at a time."""

AT_ONCE: Final = 32
"""Jobs written at a time: half the connections, so that other calls of the process go on."""

PATCHED_AT_ONCE: Final = 8
"""The same where inputs are edited: each may be a megabyte, and several as objects."""

ERRORS_SHOWN: Final = 20

MOVED: Final = "moved on meanwhile"


@dataclass(frozen=True, slots=True)
class _Parked:
    """What a hold parked, all of it meant."""

    runs: Counter[str]
    named: set[str]
    """Their ids, where the filter names ids."""


@dataclass(frozen=True, slots=True)
class _Done:
    after: Job


@dataclass(frozen=True, slots=True)
class _Skipped:
    why: str


@dataclass(frozen=True, slots=True)
class _Failed:
    detail: str


@dataclass(frozen=True, slots=True)
class _Write:
    before: Stored
    after: Job
    extra: Extra


_Outcome = _Done | _Skipped | _Failed


class Bulk:
    """Where people act on many jobs."""

    def __init__(self, store: Store, clock: Clock, desk: Desk, max_inputs_bytes: int) -> None:
        self.store = store
        self.clock = clock
        self.desk = desk
        self.max_inputs_bytes = max_inputs_bytes

    async def act(self, order: Order, person: Person, counts: Counts | None = None) -> Counts:
        """Act on every job that is meant, and say what became of them.

        Whoever gives `counts` can watch them grow. A call that breaks off halfway, Redis being
        away, is on record with what it did until then.
        """
        call = _Call(self, order, person, counts or Counts())
        try:
            await call.run()
        finally:
            if not order.dry_run:
                line = self.store.audit.record(
                    at=self.clock.now(),
                    by=person.name,
                    act=f"bulk_{order.act}",
                    on=order.wanted.text,
                    note=person.note,
                    jobs=call.counts.done,
                )
                await see_through(line)
        call.counts.est_cost = await self._cost(call.runs)
        return call.counts

    async def _cost(self, runs: Counter[str]) -> float | None:
        costs = await self.store.fleet.costs()
        if not runs.keys() <= costs.keys():
            return None
        return sum((costs[name] * count for name, count in runs.items()), 0.0)


class _Call:
    """One call on its way through the jobs."""

    def __init__(self, bulk: Bulk, order: Order, person: Person, counts: Counts) -> None:
        self._bulk = bulk
        self._store = bulk.store
        self._order = order
        self._wanted = order.wanted
        self._person = person
        self.counts = counts
        self.runs: Counter[str] = Counter()
        """`kind/target` → jobs acted on whose run the provider does not have yet."""
        self._began = bulk.clock.now()
        self._looked_at = 0
        self._shut: dict[str, str] = {}
        """Hold that stays closed → why its jobs stay parked."""
        self._opened: set[str] = set()
        """Holds whose jobs are counted already."""
        self._met: set[str] = set()
        """Jobs that are counted and may be met again: those named, or still on the road."""

    @property
    def _room(self) -> int | None:
        limit = self._order.limit
        return None if limit is None else max(0, limit - self.counts.done)

    async def run(self) -> None:
        """Go through everything that is meant."""
        if self._order.act is Act.RELEASE:
            await self._open_holds()
        if self._wanted.ids is not None:
            names = [name for name in self._wanted.ids if name not in self._met]
            for first in range(0, len(names), CHUNK):
                await self._take(names[first : first + CHUNK])
            return
        sweep = SWEEPS[self._order.act]
        for state in dict.fromkeys(sweep) if self._order.dry_run else sweep:
            if self._wanted.filter.state in (None, state):
                await self._sweep(state)

    async def _sweep(self, state: State) -> None:
        """Take what is in a state, newest first; what enters it meanwhile is not met."""
        asked, cursor = replace(self._wanted.filter, state=state), None
        while self._room != 0:
            page = await self._store.queries.page(asked, CHUNK, cursor)
            await self._take([job.id for job in page.jobs])
            if (cursor := page.next_cursor) is None:
                return

    async def _take(self, ids: Sequence[str]) -> None:
        """Act on these jobs, as many as there is room for."""
        stored = await self._store.jobs.load_many(ids)
        todo = list(zip(ids, stored, strict=True))
        at_once = AT_ONCE if self._order.patch is None else PATCHED_AT_ONCE
        while todo and self._room != 0:
            size = at_once if self._room is None else min(at_once, self._room)
            group, todo = todo[:size], todo[size:]
            at = [self._moment(self._looked_at + n) for n in range(len(group))]
            self._looked_at += len(group)
            outcomes = await asyncio.gather(
                *(self._one(*entry, now) for entry, now in zip(group, at, strict=True)),
                return_exceptions=True,
            )
            for (job_id, _), outcome in zip(group, outcomes, strict=True):
                if not isinstance(outcome, BaseException):
                    self._count(job_id, outcome)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

    def _moment(self, number: int) -> float | None:
        """When the n-th job counts as requeued; None, the time of the write, for other acts.

        It lines up anew, and the newest is met first: it stands behind the older all the same.
        """
        if self._order.act is not Act.REQUEUE:
            return None
        return self._began + number * (-SPACING_S if self._wanted.ids is None else SPACING_S)

    def _count(self, job_id: str, outcome: _Outcome | None) -> None:
        if outcome is None or job_id in self._met:
            return
        match outcome:
            case _Done(after):
                self.counts.done += 1
                if after.state not in (State.RUNNING, State.CANCELLING):
                    self.runs[_target(after)] += 1
                if after.state in SETTLED:
                    return
            case _Skipped(why):
                self.counts.skipped[why] += 1
            case _Failed(detail):
                self.counts.failed += 1
                if len(self.counts.errors) < ERRORS_SHOWN:
                    self.counts.errors.append((job_id, detail))
        if self._order.act is Act.CANCEL and not self._order.dry_run:
            self._met.add(job_id)

    # One job.

    async def _one(self, job_id: str, stored: Stored | None, at: float | None) -> _Outcome | None:
        """Act on a job until it is written or no longer fits; None where it is not meant at all."""
        inputs = None
        for number in range(ACT_TRIES):
            if self._order.patch is not None:
                (found,) = await self._store.jobs.load_with_inputs([job_id])
                stored, inputs = found or (None, None)
            elif number:
                stored = await self._store.jobs.load(job_id)
            verdict = self._judge(stored, inputs, at)
            if not isinstance(verdict, _Write):
                return verdict
            if self._order.dry_run:
                return _Done(verdict.after)
            written = await self._store.jobs.commit(verdict.before, verdict.after, verdict.extra)
            if isinstance(written, Stored):
                return _Done(written.job)
        return _Skipped(MOVED)

    def _judge(
        self, stored: Stored | None, inputs: bytes | None, at: float | None
    ) -> _Write | _Skipped | _Failed | None:
        """What to do with a job as it was read."""
        named = self._wanted.ids is not None
        if stored is None:
            return _Failed("there is no such job") if named else _Skipped(MOVED)
        job, act = stored.job, self._order.act
        if job.state not in SWEEPS[act]:
            return _Skipped(f"cannot {act} a job that is {job.state}" if named else MOVED)
        if not self._wanted.admits(job):
            return None if named else _Skipped(MOVED)
        hold_id = job.reason.hold_id if job.reason else None
        if hold_id in self._opened:
            return None
        if act is Act.RELEASE and hold_id in self._shut:
            return _Skipped(self._shut[hold_id])
        try:
            after = self._after(job, at)
            extra = Extra(inputs=None if inputs is None else self._patched(inputs))
        except IllegalMove as error:
            return _Skipped(str(error))
        except BadOrder as error:
            return _Failed(f"{error.field} {error}")
        if after is job:
            return _Skipped("is being cancelled already")
        return _Write(stored, after, extra)

    def _after(self, job: Job, at: float | None) -> Job:
        """The job after the act; raises `IllegalMove`."""
        now = self._bulk.clock.now() if at is None else max(at, job.updated_at)
        by, note = self._person.name, self._person.note
        match self._order.act:
            case Act.RELEASE:
                return transitions.release(job, now, by=by, note=note)
            case Act.REQUEUE:
                return transitions.requeue(job, now, by=by, note=note)
            case Act.DISCARD:
                return transitions.discard(job, now, by=by, note=note)
            case Act.CANCEL:
                return cancelled(job, now, by=by, note=note)

    def _patched(self, inputs: bytes) -> bytes:
        """The inputs with the patch applied; raises `BadOrder`, which never repeats them."""
        try:
            found = decode(inputs)
        except BROKEN:
            found = None
        if not isinstance(found, dict):
            raise BadOrder("inputs", "are not a JSON object: requeue this job with whole inputs")
        try:
            patched = merge(cast("object", found), self._order.patch)
        except RecursionError:
            raise BadOrder("inputs", "are nested too deep: flatten them") from None
        return encode_inputs(patched, self._bulk.max_inputs_bytes)

    # Holds.

    async def _open_holds(self) -> None:
        """Release the holds that keep waiting nothing but what is meant."""
        for hold in await self._store.gates.holds():
            if hold.phase is not Phase.CLOSED or hold.code == transitions.MANUAL:
                continue
            found = await self._parked_by(hold)
            if found is None or not await self._all_behind_are(hold):
                self._shut[hold.id] = _left(hold, "keeps more waiting than the filter covers")
                continue
            (parked,) = await self._store.queries.held([hold.id])
            if self._room is not None and parked > self._room:
                self._shut[hold.id] = _left(hold, f"parked {parked}, more than the limit leaves")
            elif self._order.dry_run:
                self._count_freed(hold, found, parked, parked)
            else:
                await self._open(hold, found, parked)

    async def _open(self, hold: Hold, found: _Parked, parked: int) -> None:
        try:
            _, freed = await self._bulk.desk.release_hold(hold.id, self._person, on_record=False)
        except NoSuchHold:  # somebody was faster: its jobs are like any other
            return
        self._count_freed(hold, found, parked, freed)

    def _count_freed(self, hold: Hold, found: _Parked, parked: int, freed: int) -> None:
        self._opened.add(hold.id)
        self._met |= found.named
        self.runs += found.runs
        self.counts.done += freed
        self.counts.holds_released += 1
        if freed < parked:
            self.counts.skipped[MOVED] += parked - freed

    async def _parked_by(self, hold: Hold) -> _Parked | None:
        """What a hold parked; None where that is nothing, or a job that is not meant."""
        found = _Parked(Counter(), set())
        async for job in self._jobs_in(self._store.keys.index(Index.HELD, hold.id)):
            if not self._wanted.admits(job):
                return None
            found.runs[_target(job)] += 1
            if self._wanted.ids is not None:
                found.named.add(job.id)
        return found if found.runs else None

    async def _all_behind_are(self, hold: Hold) -> bool:
        """Whether no job is queued behind a hold that the filter leaves out."""
        queues = await self._store.lanes.queues()
        meant = self._wanted.behind_a_gate
        for lane in queues.lanes:
            if not covers(hold.scope, lane) or self._wanted.covers(hold, lane):
                continue
            async for job in self._jobs_in(self._store.keys.lane(lane)):
                if not meant.admits(job):
                    return False
        return True

    async def _jobs_in(self, index: str) -> AsyncGenerator[Job]:
        """The jobs of an index, in no order; one that stays in it is not missed."""
        cursor = 0
        while True:
            cursor, rows = await self._store.client.call("ZSCAN", index, cursor, "COUNT", CHUNK)
            ids = [member.decode() for member, _ in cast("list[tuple[bytes, float]]", rows)]
            for stored in await self._store.jobs.load_many(ids):
                if stored is not None:
                    yield stored.job
            if not cursor:
                return


def _target(job: Job) -> str:
    return f"{job.kind}/{job.target}"


def _left(hold: Hold, why: str) -> str:
    return (
        f"hold {hold.id} on {hold.scope} ({hold.code}) {why}: release the hold itself, it lets one"
        " canary through first"
    )
