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
from worker.engine.wakeups import Bell
from worker.store.client import Client
from worker.store.commit import Extra, Stored, age_of
from worker.store.jobs import JobStore

log: Final = structlog.get_logger(__name__)

KEPT_S: Final = 300.0
KEPT_MOST: Final = 5_000
RESULT_MOST: Final = 65_536
"""Results of sync runs up to this size are remembered: no poll could bring them back."""

SENT: Final = frozenset({"send", "open"})

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
        self._changed = False
        """The pause is counted from the next look: this one may have waited long for Redis."""
        self._changes = 0
        self._connections = 0
        self._looking = asyncio.Lock()
        self.bell = Bell()

    def watch(self, redis: ArqRedis) -> None:
        """Notice every new connection: only after one can the server be another."""
        pool = cast("Any", redis).connection_pool
        pool.connection_kwargs["redis_connect_func"] = self._connected

    async def _connected(self, connection: Any) -> None:
        await connection.on_connect()
        self._connections += 1
        self.suspicious = True
        self.bell.ring()

    async def is_the_same(self, now: Callable[[], float]) -> bool:
        """Whether Redis is still the server it was, once that is known; asked before a byte leaves.

        What was just written may have gone, on a new connection, to a server that forgot.
        """
        changes = self._changes
        if self.suspicious:
            await self._look()
        return changes == self._changes and self.trusts(now())

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
        if self._changed:
            self._changed, self.trust_from = False, now + PAUSE_S
        await self._look()
        return 0.0 if self._changed or self.suspicious else LOOK_S

    async def _look(self) -> None:
        """Ask who the server is, where it may be another, and bring that one up to date."""
        async with self._looking:
            while self.suspicious:
                await self._ask()

    async def _ask(self) -> None:
        connections = self._connections
        server = await self._who()
        if self.server is not None and server != self.server:
            self._changed, self.trust_from = True, math.inf
            self._changes += 1
            restored = await self._reconcile()
            log.warning("redis.changed", restored=restored, remembered=len(self._known))
        self.server = server
        self.suspicious = connections != self._connections

    async def _who(self) -> str:
        told: dict[str, Any] = await self._client.call("INFO", "server")
        return str(told.get("run_id"))

    async def _reconcile(self) -> int:
        """Write back what Redis forgot; again where somebody wrote to a job meanwhile."""
        restored, known = 0, list(self._known.values())
        while known:
            found = await self._jobs.load_many([one.stored.job.id for one in known])
            forgotten = [
                (one, standing)
                for one, standing in zip(known, found, strict=True)
                if standing is None or _forgot(standing, one.stored)
            ]
            known = [one for one, standing in forgotten if not await self._restore(one, standing)]
            restored += len(forgotten) - len(known)
        return restored

    async def _restore(self, known: _Known, standing: Stored | None) -> bool:
        ours = known.stored
        if not await self._jobs.restore(standing, ours, Extra(result=known.result)):
            return False
        log.warning("job.restored", job_id=ours.job.id, state=ours.job.state)
        return True


def _forgot(standing: Stored, ours: Stored) -> bool:
    """Whether what stands is older than what we wrote, or goes back to before we sent the job.

    Revisions alone do not tell: others may have written since, who did not know of our submit.
    """
    if age_of(standing.rev) < age_of(ours.rev):
        return True
    sent = [event for event in ours.job.events if event.name in SENT]
    if not sent or standing.job.events_dropped:
        return False
    return sent[-1] not in standing.job.events


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
