"""Restores what Redis lost of paid submits, when it comes back with older data.

A Redis that lost its last seconds (no `appendfsync always`, a failover to a replica behind) may
show a job as queued whose run is paid. So each worker remembers what it wrote of the submits of
the last minutes. When the server is a different one, it writes back what is newer than what it
finds there, and admission waits until every worker had the time to do so.
"""

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, assert_never

import structlog

from jobs.job import Job
from jobs.lifecycle import Transition
from jobs.states import Mode, State
from worker.clock import Clock
from worker.engine.unreadable_records import load_records
from worker.engine.wakeups import Wakeup
from worker.engine.write_back import write_back
from worker.redis.primary import Primary
from worker.store.client import Durability
from worker.store.commit import SideWrites, VersionedJob, version_of
from worker.store.jobs import JobStore, NewerRecord

log: Final = structlog.get_logger(__name__)

REMEMBER_S: Final = 300.0
MAX_REMEMBERED: Final = 5_000
MAX_INPUTS_BYTES: Final = 32 * 2**20
"""Inputs remembered of all jobs together; the oldest are forgotten first."""
MAX_RESULT_BYTES: Final = 65_536
"""Results of sync runs up to this size are remembered: no poll can fetch them again."""

SENT_EVENTS: Final = frozenset({Transition.SEND.value, Transition.OPEN.value})

TICK_S: Final = 1.0
ADMISSION_PAUSE_S: Final = 3.0
"""How long admission waits after the server was found to be a different one."""

MAX_REPLICA_PAUSE_S: Final = 8.0
"""The longest pause of admission after a send mark that no replica confirmed."""

REPLICAS: Final = "redis_replicas"
"""The name, in the health of a worker, of what `problems` returns; so are the next two."""
REPLICAS_TEXT: Final = (
    "fewer replicas than KNOUDS_REDIS_WAIT_REPLICAS confirm a write within KNOUDS_REDIS_WAIT_MS, so"
    " it submits nothing"
)
REPLICAS_FIX: Final = (
    "bring the replicas back, raise KNOUDS_REDIS_WAIT_MS, or lower KNOUDS_REDIS_WAIT_REPLICAS"
)
REPLICAS_SHOWN_FOR_S: Final = 30.0
"""Without a further mark for so long, nothing waits for a replica."""
SENTINELS: Final = "redis_sentinels"
SENTINELS_FIX: Final = (
    "start the Sentinels again, and correct one that is wrong, or the hosts in KNOUDS_REDIS_URL"
)
PRIMARY: Final = "redis_primary"
PRIMARY_FIX: Final = (
    "run `knouds-worker doctor`: it says how long Redis takes, and which right its user lacks"
)


@dataclass(frozen=True, slots=True)
class _Remembered:
    stored: VersionedJob
    result: bytes | None
    written_at: float


class RedisRecovery:
    """Remembers, and reconciles."""

    name = "redis_recovery"

    def __init__(self, jobs: JobStore, clock: Clock, primary: Primary) -> None:
        self._jobs = jobs
        self._clock = clock
        self._primary = primary
        self.wakeup = Wakeup()
        """Ends the pause between two ticks early."""
        self._known_generation = primary.generation
        """Of the primary that was reconciled."""
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._inputs: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        """By job id, of remembered jobs that this worker submitted: the number of the submit, and
        the inputs it sent. A later submit may have others."""
        self._inputs_size = 0
        self._trusted_from = 0.0
        """Nothing is admitted before."""
        self._pause_pending = False
        """The pause starts at the next tick: the present one may have waited long for Redis."""
        self._verify_lock = asyncio.Lock()
        self._unconfirmed = 0
        """Send marks in a row that too few replicas confirmed."""
        self._unconfirmed_at = -math.inf
        primary.observe(self.wakeup.notify)

    @property
    def _must_verify(self) -> bool:
        """Whether the primary is another one than was reconciled."""
        return self._known_generation != self._primary.generation

    async def trusted_generation(self) -> int | None:
        """The generation of the primary if it is trusted, else None; asked before a byte is sent.

        A write may have gone, on a new connection, to a server that lost data. It is still valid
        if the generation is the same after it.
        """
        if self._must_verify:
            await self._verify()
        generation = self._primary.generation
        is_confirmed = await self._primary.confirm()
        return generation if is_confirmed and self.is_trusted(self._clock.now()) else None

    def record_mark(self, durability: Durability | None) -> bool:
        """Note whether a replica has a send mark; returns whether its submit may be sent.

        Without a replica that has it, a failover would put the job back in the queue while its
        run is paid for. So nothing is admitted for a while.
        """
        if durability is not Durability.UNCONFIRMED:
            if self._unconfirmed:
                log.info("redis.replicas_confirm", unconfirmed=self._unconfirmed)
            self._unconfirmed = 0
            return True
        self._unconfirmed += 1
        self._unconfirmed_at = self._clock.now()
        if self._unconfirmed == 1:
            log.warning("redis.replicas_silent", why=REPLICAS_TEXT, fix=REPLICAS_FIX)
        pause_s = min(MAX_REPLICA_PAUSE_S, 2.0 ** min(self._unconfirmed - 1, 10))
        self._trusted_from = max(self._trusted_from, self._clock.now() + pause_s)
        return False

    def problems(self, now: float) -> dict[str, str]:
        """What keeps this worker from submitting for longer than a moment: name → text."""
        found: dict[str, str] = {}
        if reason := self._primary.unconfirmed_reason:
            name = PRIMARY if self._primary.sentinels is None else SENTINELS
            found[name] = f"the primary of Redis is not confirmed, so it submits nothing: {reason}"
        if self._unconfirmed and now - self._unconfirmed_at < REPLICAS_SHOWN_FOR_S:
            found[REPLICAS] = REPLICAS_TEXT
        return found

    def is_trusted(self, now: float) -> bool:
        """Whether a paid submit may rely on what Redis says."""
        is_known = not self._must_verify and not self._primary.is_unanswered
        return is_known and now >= self._trusted_from

    def remember(
        self, written: VersionedJob, result: bytes | None = None, *, inputs: bytes | None = None
    ) -> None:
        """Remember a version of a job that was sent, or whose run ended.

        Without `inputs`, those of its submit stay. Of an async run that ended, the running version
        stays: a poll finds its end again.
        """
        job = written.job
        if not _is_worth_remembering(job):
            return
        if inputs is not None:
            self._remember_inputs(job, inputs)
        kept = result if result is not None and len(result) <= MAX_RESULT_BYTES else None
        self._remembered[job.id] = _Remembered(written, kept, job.updated_at)
        self._remembered.move_to_end(job.id)
        while len(self._remembered) > MAX_REMEMBERED:
            self._forget_oldest()

    def inputs_of(self, job: Job) -> bytes | None:
        """The inputs of the job's last submit, if this worker made it and still has them."""
        number, inputs = self._inputs.get(job.id, (0, None))
        return inputs if number == job.submits else None

    def _remember_inputs(self, job: Job, inputs: bytes) -> None:
        self._forget_inputs(job.id)
        self._inputs[job.id] = job.submits, inputs
        self._inputs_size += len(inputs)
        while self._inputs_size > MAX_INPUTS_BYTES:
            self._forget_inputs(next(iter(self._inputs)))

    def _forget_inputs(self, job_id: str) -> None:
        _, inputs = self._inputs.pop(job_id, (0, b""))
        self._inputs_size -= len(inputs)

    def _forget_oldest(self) -> None:
        job_id, _ = self._remembered.popitem(last=False)
        self._forget_inputs(job_id)

    async def tick(self, now: float) -> float:
        """Reconcile with another primary; returns the seconds until the next tick."""
        while (
            self._remembered and next(iter(self._remembered.values())).written_at < now - REMEMBER_S
        ):
            self._forget_oldest()
        if self._pause_pending:
            self._pause_pending, self._trusted_from = False, now + ADMISSION_PAUSE_S
        await self._verify()
        return 0.0 if self._pause_pending or self._must_verify else TICK_S

    async def _verify(self) -> None:
        """Restore what the primary lacks, where it is another server."""
        async with self._verify_lock:
            while self._must_verify:
                await self._verify_once()

    async def _verify_once(self) -> None:
        generation = self._primary.generation
        self._pause_pending, self._trusted_from = True, math.inf
        restored = await self._reconcile()
        log.warning("redis.changed", restored=restored, remembered=len(self._remembered))
        self._known_generation = generation

    async def restore_all(self) -> tuple[int, int]:
        """Restore what the same server lost; how many jobs were restored, and are remembered.

        Nothing is admitted until every worker had the time to do so.
        """
        async with self._verify_lock:
            self._pause_pending, self._trusted_from = True, math.inf
            return await self._reconcile(), len(self._remembered)

    async def _reconcile(self) -> int:
        """Write back what Redis lost, again while other writers change the jobs; the count."""
        restored, unchecked = 0, list(self._remembered.values())
        while unchecked:
            ids = [one.stored.job.id for one in unchecked]
            found = await load_records(self._jobs, ids, self._clock.now())
            lost = [
                (one, current)
                for one, current in zip(unchecked, found, strict=True)
                if not isinstance(current, NewerRecord)
                if current is None or _is_older(current, one.stored)
            ]
            unchecked = [one for one, current in lost if not await self._restore(one, current)]
            restored += len(lost) - len(unchecked)
        return restored

    async def _restore(self, remembered: _Remembered, found: VersionedJob | None) -> bool:
        ours = remembered.stored
        inputs = self.inputs_of(ours.job)
        side_writes = SideWrites(inputs=inputs, result=remembered.result)
        return await write_back(self._jobs, found, ours, side_writes, self._clock.now())


def _is_older(found: VersionedJob, ours: VersionedJob) -> bool:
    """Whether Redis has an older version than ours, or one without our submit.

    Versions alone do not tell: another worker may have written since, without our submit.
    """
    if version_of(found.rev) < version_of(ours.rev):
        return True
    sent = [event for event in ours.job.events if event.name in SENT_EVENTS]
    if not sent or found.job.events_dropped:
        return False
    return sent[-1] not in found.job.events


def _is_worth_remembering(job: Job) -> bool:
    match job.state:
        case State.SUBMITTING:
            return job.sent_at is not None
        case State.RUNNING | State.CANCELLING | State.PARKED | State.RETRYING | State.DEAD:
            return True
        case State.SUCCEEDED | State.CANCELLED:
            return job.mode is Mode.SYNC
        case State.SCHEDULED | State.QUEUED:
            return False
        case _:
            assert_never(job.state)
