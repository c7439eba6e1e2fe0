"""What this worker knows of paid submits, should Redis come back from an older state.

A Redis that lost its last seconds (no `appendfsync always`, a failover to a replica that lagged)
may show a job as queued whose run was paid for a moment ago. So a worker remembers what it wrote of
the submits of the last minutes; when it meets a server it does not know, it writes what is newer
than what it finds, and admission waits until every worker had the time to do so.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from arq import ArqRedis

from jobs.job import Job
from jobs.states import Mode, State
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup
from worker.store.client import Client
from worker.store.commit import SideWrites, VersionedJob, version_of
from worker.store.jobs import JobStore

log: Final = structlog.get_logger(__name__)

REMEMBER_S: Final = 300.0
MAX_REMEMBERED: Final = 5_000
MAX_RESULT_BYTES: Final = 65_536
"""Results of sync runs up to this size are remembered: no poll could bring them back."""

SENT_EVENTS: Final = frozenset({"send", "open"})

TICK_S: Final = 1.0
ADMISSION_PAUSE_S: Final = 3.0
"""How long admission waits after Redis was found to be another one."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    stored: VersionedJob
    result: bytes | None
    written_at: float


class RedisRecovery:
    """Remembers, and reconciles."""

    name = "redis_recovery"

    def __init__(self, client: Client, jobs: JobStore) -> None:
        self._client = client
        self._jobs = jobs
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self.server_run_id: str | None = None
        """The server we know, by its run id."""
        self.must_verify = True
        """There was a new connection: the server may be another."""
        self.trusted_from = 0.0
        """Nothing is admitted before."""
        self._pause_pending = False
        """The pause is counted from the next look: this one may have waited long for Redis."""
        self._server_changes = 0
        self._connections = 0
        self._verify_lock = asyncio.Lock()
        self.wakeup = Wakeup()

    def watch(self, redis: ArqRedis) -> None:
        """Notice every new connection: only after one can the server be another."""
        pool = cast("Any", redis).connection_pool
        pool.connection_kwargs["redis_connect_func"] = self._connected

    async def _connected(self, connection: Any) -> None:
        await connection.on_connect()
        self._connections += 1
        self.must_verify = True
        self.wakeup.notify()

    async def is_same_server(self, now: Callable[[], float]) -> bool:
        """Whether Redis is still the server it was, once that is known; asked before a byte leaves.

        What was just written may have gone, on a new connection, to a server that forgot.
        """
        changes = self._server_changes
        if self.must_verify:
            await self._verify(now())
        return changes == self._server_changes and self.is_trusted(now())

    def is_trusted(self, now: float) -> bool:
        """Whether what Redis says may be acted upon with a paid submit."""
        return not self.must_verify and now >= self.trusted_from

    def remember(self, written: VersionedJob, result: bytes | None = None) -> None:
        """Remember what was written of a job that was sent, or of how its run ended.

        Of an async run that ended the running version is kept: a poll brings its end back.
        """
        job = written.job
        if not _is_worth_remembering(job):
            return
        kept = result if result is not None and len(result) <= MAX_RESULT_BYTES else None
        self._remembered[job.id] = _Remembered(written, kept, job.updated_at)
        self._remembered.move_to_end(job.id)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def tick(self, now: float) -> float:
        """Look whether the server is still the one we know."""
        while (
            self._remembered and next(iter(self._remembered.values())).written_at < now - REMEMBER_S
        ):
            self._remembered.popitem(last=False)
        if self._pause_pending:
            self._pause_pending, self.trusted_from = False, now + ADMISSION_PAUSE_S
        await self._verify(now)
        return 0.0 if self._pause_pending or self.must_verify else TICK_S

    async def _verify(self, now: float) -> None:
        """Ask who the server is, where it may be another, and bring that one up to date."""
        async with self._verify_lock:
            while self.must_verify:
                await self._verify_once(now)

    async def _verify_once(self, now: float) -> None:
        connections = self._connections
        server = await self._read_run_id()
        if self.server_run_id is not None and server != self.server_run_id:
            self._pause_pending, self.trusted_from = True, math.inf
            self._server_changes += 1
            restored = await self._reconcile(now)
            log.warning("redis.changed", restored=restored, remembered=len(self._remembered))
        self.server_run_id = server
        self.must_verify = connections != self._connections

    async def _read_run_id(self) -> str:
        told: dict[str, Any] = await self._client.call("INFO", "server")
        return str(told.get("run_id"))

    async def _reconcile(self, now: float) -> int:
        """Write back what Redis forgot; again where somebody wrote to a job meanwhile."""
        restored, known = 0, list(self._remembered.values())
        while known:
            found = await load_jobs(self._jobs, [one.stored.job.id for one in known], now)
            forgotten = [
                (one, standing)
                for one, standing in zip(known, found, strict=True)
                if standing is None or _is_older(standing, one.stored)
            ]
            known = [one for one, standing in forgotten if not await self._restore(one, standing)]
            restored += len(forgotten) - len(known)
        return restored

    async def _restore(self, remembered: _Remembered, found: VersionedJob | None) -> bool:
        ours = remembered.stored
        if not await self._jobs.restore(found, ours, SideWrites(result=remembered.result)):
            return False
        log.warning("job.restored", job_id=ours.job.id, state=ours.job.state)
        return True


def _is_older(found: VersionedJob, ours: VersionedJob) -> bool:
    """Whether what stands is older than what we wrote, or goes back to before we sent the job.

    Revisions alone do not tell: others may have written since, who did not know of our submit.
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
