"""Restores what Redis lost of paid submits, when it comes back with other data.

A Redis that lost its last seconds (no `appendfsync always`, a failover to a replica behind), or all
of its data, may show a job as queued whose run is paid. So each worker remembers what it wrote of
its submits. When the server is a different one, or its recovery state is another
(`jobs.data_recovery`), it writes back what is newer than what it finds there, and reports that;
nothing is admitted until every worker has done so.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Final

import structlog

from jobs.data_recovery import DataOrigin, RecoveryState
from jobs.known_runs import lacks_submit
from worker.clock import Clock
from worker.engine.remembered_jobs import RememberedJob, RememberedJobs
from worker.engine.replica_marks import ReplicaMarks
from worker.engine.services.heartbeat import LiveWorkers
from worker.engine.unreadable_records import load_records
from worker.engine.wakeups import Wakeup
from worker.engine.write_back import write_back
from worker.redis.primary import Primary
from worker.store import Store
from worker.store.commit import VersionedJob, version_of
from worker.store.jobs import NewerRecord

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 1.0
RECOVERING_TICK_S: Final = 0.25
"""Pause while other workers have not reported yet."""

RESTORED_AT_ONCE: Final = 250
EXTEND_AFTER_S: Final = 3.0
"""A worker that has been writing back for so long says that it is still at it."""

SENTINELS: Final = "redis_sentinels"
"""The name, in the health of a worker, of what `problems` returns; so are those below."""
SENTINELS_FIX: Final = (
    "start the Sentinels again, and correct one that is wrong, or the hosts in KNOUDS_REDIS_URL"
)
PRIMARY: Final = "redis_primary"
PRIMARY_FIX: Final = (
    "run `knouds-worker doctor`: it says how long Redis takes, and which right its user lacks"
)

RECOVERING: Final = "redis_recovering"
RECOVERING_TEXT: Final = (
    "Redis came back with other data, and it submits nothing until every worker that was alive has"
    " written back what is missing"
)
RECOVERING_FIX: Final = "start the workers that cannot reach Redis again; after 15 s none waits"
RECOVERING_SHOWN_AFTER_S: Final = 2.0
EMPTIED: Final = "redis_data"
EMPTIED_SHOWN_FOR_S: Final = 86_400.0
EMPTIED_FIX: Final = (
    "find out who ran FLUSHDB, FLUSHALL or DEL, why Redis started without its file, or why its"
    " address leads to an empty server; enqueue the lost jobs again with the same ids, and compare"
    " the provider's list of runs with the jobs before anything is submitted a second time"
)

RunsUnderWay = Callable[[], Iterable[RememberedJob]]
"""What a part of this worker knows of runs that have not ended."""


class RedisRecovery:
    """Remembers, and reconciles."""

    name = "redis_recovery"

    def __init__(
        self,
        worker_id: str,
        store: Store,
        clock: Clock,
        primary: Primary,
        *,
        live_workers: LiveWorkers,
    ) -> None:
        self._worker_id = worker_id
        self._jobs = store.jobs
        self._recovery = store.recovery
        self._clock = clock
        self._primary = primary
        self._live_workers = live_workers
        self.wakeup = Wakeup()
        """Ends the pause between two ticks early."""
        self.remembered = RememberedJobs()
        self.replica_marks = ReplicaMarks(store.client, clock)
        self._runs_under_way: list[RunsUnderWay] = []
        self._observers: list[Callable[[], None]] = []
        self._reconciled: tuple[int, str] | None = None
        """The generation of the primary and the recovery epoch that this worker reconciled."""
        self._ready: tuple[int, str] | None = None
        """The same, once every worker has."""
        self._lock = asyncio.Lock()
        self._ready_at = math.inf
        """When the data was last seen to be ready, Unix seconds of Redis."""
        self._emptied_text = ""
        self._emptied_at = -math.inf
        self._waits_since: float | None = None
        """Since when it waits for other workers."""
        primary.observe(self.wakeup.notify)

    def add_runs_under_way(self, *runs: RunsUnderWay) -> None:
        """Restore what other parts of this worker know, too."""
        self._runs_under_way += runs

    def observe(self, notify: Callable[[], None]) -> None:
        """Call `notify` whenever Redis came back with other data."""
        self._observers.append(notify)

    @property
    def data_epoch(self) -> str:
        """The recovery epoch that a send mark has to find.

        Raises RuntimeError while the data is not ready: the empty one would fit every state.
        """
        if self._ready is None:
            raise RuntimeError("a send mark needs data that is ready: ask trusted_generation first")
        return self._recovery.data_mark(self._ready[1])

    async def trusted_generation(self) -> int | None:
        """The generation of the primary if it is trusted, else None; asked before a byte is sent.

        A write may have gone, on a new connection, to a server that lost data. It is still valid
        if the generation is the same after it.
        """
        if not self._is_ready:
            await self._recover()
        generation = self._primary.generation
        is_confirmed = await self._primary.confirm()
        return generation if is_confirmed and self.is_trusted(self._clock.now()) else None

    def note_recovering(self) -> None:
        """Note that Redis refused a write since its data may not be relied on."""
        self._ready = None
        self.wakeup.notify()

    def problems(self, now: float) -> dict[str, str]:
        """What keeps this worker from submitting for longer than a moment: name → text."""
        found: dict[str, str] = {}
        if reason := self._primary.unconfirmed_reason:
            name = PRIMARY if self._primary.sentinels is None else SENTINELS
            found[name] = f"the primary of Redis is not confirmed, so it submits nothing: {reason}"
        found |= self.replica_marks.problems(now)
        if self._waits_since is not None and now - self._waits_since > RECOVERING_SHOWN_AFTER_S:
            found[RECOVERING] = RECOVERING_TEXT
        if now - self._emptied_at < EMPTIED_SHOWN_FOR_S:
            found[EMPTIED] = self._emptied_text
        return found

    @property
    def _is_ready(self) -> bool:
        """Whether every worker has reconciled with the data of this primary."""
        return self._ready is not None and self._ready[0] == self._primary.generation

    def is_trusted(self, now: float) -> bool:
        """Whether a paid submit may rely on what Redis says."""
        is_known = self._is_ready and not self._primary.is_unanswered
        return is_known and now >= self.replica_marks.paused_until

    async def tick(self, now: float) -> float:
        """Reconcile with other data; returns the seconds until the next tick."""
        self.remembered.forget_older(now)
        await self._recover()
        if self._is_ready:
            self._waits_since = None
            return TICK_S
        self._waits_since = now if self._waits_since is None else self._waits_since
        return RECOVERING_TICK_S

    @property
    def _known_workers(self) -> frozenset[str]:
        """The workers that were alive lately, as far as this one knows."""
        live = self._live_workers
        return (self._recovery.reported - live.dead).union(live.seen)

    async def _recover(self) -> None:
        """Take the next steps of a recovery, as far as this worker can."""
        async with self._lock:
            while True:
                generation = self._primary.generation
                state = await self._recovery.advance(self._known_workers, counts=True)
                if generation != self._primary.generation:
                    continue
                reached = generation, state.epoch
                if self._reconciled != reached:
                    await self._do_own_part(state)
                    self._reconciled = reached
                    continue
                if state.is_ready:
                    self._ready, self._ready_at = reached, self._clock.now()
                return

    async def _do_own_part(self, state: RecoveryState) -> None:
        """Write back what is missing in other data than this worker knew, and report that."""
        if self._reconciled is not None:
            self._ready = None
            for notify in self._observers:
                notify()
            restored = await self._reconcile(state.epoch)
            log.warning("redis.changed", restored=restored, remembered=len(self.remembered))
            if state.origin is DataOrigin.EMPTIED and state.since >= self._ready_at:
                self._report_emptied(restored)
        await self._recovery.report(self._worker_id, state.epoch, self._known_workers)

    async def _reconcile(self, epoch: str) -> int:
        """Write back what Redis lost; how many jobs. All wait for as long as it takes."""
        restored, extended_at, known = 0, self._clock.now(), self._all_known()
        for first in range(0, len(known), RESTORED_AT_ONCE):
            restored += await self._restore_all(known[first : first + RESTORED_AT_ONCE])
            if self._clock.now() > extended_at + EXTEND_AFTER_S:
                await self._recovery.extend(epoch)
                extended_at = self._clock.now()
        return restored

    async def _restore_all(self, known: Sequence[RememberedJob]) -> int:
        """Write back what Redis lost of some jobs, again while other writers change them."""
        restored, unchecked = 0, list(known)
        while unchecked:
            ids = [one.stored.job.id for one in unchecked]
            found = await load_records(self._jobs, ids, self._clock.now())
            lost: list[tuple[RememberedJob, VersionedJob | None]] = [
                (one, current)
                for one, current in zip(unchecked, found, strict=True)
                if not isinstance(current, NewerRecord)
                if current is None or _is_older(current, one.stored)
            ]
            unchecked = await self._restore_each(lost)
            restored += len(lost) - len(unchecked)
        return restored

    async def _restore_each(
        self, lost: Sequence[tuple[RememberedJob, VersionedJob | None]]
    ) -> list[RememberedJob]:
        """Write back each over what was found; returns those that others changed meanwhile."""
        done = await asyncio.gather(*(self._restore(one, found) for one, found in lost))
        return [one for (one, _), is_done in zip(lost, done, strict=True) if not is_done]

    def _all_known(self) -> list[RememberedJob]:
        """The latest version that this worker knows of each job."""
        known = {one.stored.job.id: one for one in self.remembered}
        for one in chain.from_iterable(runs() for runs in self._runs_under_way):
            job = one.stored.job
            other = known.get(job.id)
            if other is None or version_of(other.stored.rev) < version_of(one.stored.rev):
                inputs = one.inputs or self.remembered.inputs_of(job)
                known[job.id] = RememberedJob(one.stored, inputs)
        return list(known.values())

    async def _restore(self, ours: RememberedJob, found: VersionedJob | None) -> bool:
        return await write_back(self._jobs, found, ours.stored, ours.side_writes, self._clock.now())

    def _report_emptied(self, restored: int) -> None:
        now = self._clock.now()
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        text = (
            f"Redis lost its data at {at}: this worker wrote back {restored} jobs; jobs that were"
            " queued, and those that no worker knew, are lost"
        )
        self._emptied_text, self._emptied_at = text, now
        log.error(
            "redis.data_lost",
            restored=restored,
            remembered=len(self.remembered),
            why=text,
            fix=EMPTIED_FIX,
        )


def _is_older(found: VersionedJob, ours: VersionedJob) -> bool:
    """Whether Redis has an older version than ours, or one without our submit.

    Versions alone do not tell: another worker may have written since, without our submit.
    """
    if version_of(found.rev) < version_of(ours.rev):
        return True
    return not found.job.events_dropped and lacks_submit(found.job, ours.job)
