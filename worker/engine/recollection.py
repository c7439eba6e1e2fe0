"""What this worker knows of paid submits, should Redis come back from an older state.

A Redis that lost its last seconds (no `appendfsync always`, a failover to a replica that lagged)
may show a job as queued whose run was paid for a moment ago. So a worker remembers what it wrote of
the submits of the last minutes; when it meets a server it does not know, it writes what is newer
than what it finds, and admission waits until every worker had the time to do so.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from arq import ArqRedis

from jobs.records import Job
from jobs.states import Mode, State
from worker.engine.bells import Bell
from worker.store.changes import Extra, Stored, age_of
from worker.store.client import Client
from worker.store.jobs import JobStore

log: Final = structlog.get_logger(__name__)

KEPT_S: Final = 300.0
KEPT_MOST: Final = 5_000
RESULT_MOST: Final = 65_536
"""Results of sync runs up to this size are remembered: no poll could bring them back."""

LOOK_S: Final = 1.0
PAUSE_S: Final = 3.0
"""How long admission waits after Redis was found to be another one."""


@dataclass(frozen=True, slots=True)
class _Known:
    stored: Stored
    result: bytes | None
    since: float


class Recollection:
    """Remembers, and reconciles."""

    name = "recollection"

    def __init__(self, client: Client, jobs: JobStore) -> None:
        self._client = client
        self._jobs = jobs
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self.server: str | None = None
        """The server we know, by its run id."""
        self.suspicious = True
        """There was a new connection: the server may be another."""
        self.trust_from = 0.0
        """Nothing is admitted before."""
        self.bell = Bell()

    def watch(self, redis: ArqRedis) -> None:
        """Notice every new connection: only after one can the server be another."""
        pool = cast("Any", redis).connection_pool
        pool.connection_kwargs["redis_connect_func"] = self._connected

    async def _connected(self, connection: Any) -> None:
        await connection.on_connect()
        self.suspicious = True
        self.bell.ring()

    def trusts(self, now: float) -> bool:
        """Whether what Redis says may be acted upon with a paid submit."""
        return not self.suspicious and now >= self.trust_from

    def remember(self, written: Stored, result: bytes | None = None) -> None:
        """Remember what was written of a job that was sent, or of how its run ended.

        Of an async run that ended the running version is kept: a poll brings its end back.
        """
        job = written.job
        if not _worth_keeping(job):
            return
        kept = result if result is not None and len(result) <= RESULT_MOST else None
        self._known[job.id] = _Known(written, kept, job.updated_at)
        self._known.move_to_end(job.id)
        while len(self._known) > KEPT_MOST:
            self._known.popitem(last=False)

    async def tick(self, now: float) -> float:
        """Look whether the server is still the one we know."""
        while self._known and next(iter(self._known.values())).since < now - KEPT_S:
            self._known.popitem(last=False)
        if not self.suspicious:
            return LOOK_S
        server = await self._who()
        self.suspicious = False
        if self.server is not None and server != self.server:
            restored = await self._reconcile()
            self.trust_from = now + PAUSE_S
            log.warning("redis.changed", restored=restored, remembered=len(self._known))
        self.server = server
        return LOOK_S

    async def _who(self) -> str:
        told: dict[str, Any] = await self._client.call("INFO", "server")
        return str(told.get("run_id"))

    async def _reconcile(self) -> int:
        known = list(self._known.values())
        found = await self._jobs.load_many([one.stored.job.id for one in known])
        restored = 0
        for one, standing in zip(known, found, strict=True):
            if standing is not None and age_of(standing.rev) >= age_of(one.stored.rev):
                continue
            extra = Extra(result=one.result)
            if await self._jobs.restore(standing, one.stored, extra):
                restored += 1
                log.warning("job.restored", job_id=one.stored.job.id, state=one.stored.job.state)
        return restored


def _worth_keeping(job: Job) -> bool:
    match job.state:
        case State.SUBMITTING:
            return job.sent_at is not None
        case State.RUNNING | State.CANCELLING | State.PARKED | State.RETRYING | State.DEAD:
            return True
        case State.SUCCEEDED | State.CANCELLED:
            return job.mode is Mode.SYNC
        case State.SCHEDULED | State.QUEUED:
            return False
