"""The heartbeat: shows that this worker lives, and extends the leases of its jobs."""

from dataclasses import dataclass
from typing import Protocol

from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.workers import ALIVE_LEASES, Heartbeat


class WorkerReporter(Protocol):
    """What a heartbeat says about this worker."""

    @property
    def leased_ids(self) -> tuple[str, ...]:
        """Ids of the jobs whose leases this worker has to extend."""
        ...

    def report(self, now: float) -> Heartbeat:
        """The heartbeat to record at `now`, Unix seconds."""
        ...


@dataclass(slots=True)
class LiveWorkers:
    """How many workers live and take work, this one included, as the last heartbeat counted."""

    count: int = 1
    leaving_sync_runs: int = 0
    """Open sync runs of workers that take no more work: they hold no slot of those that do."""


class HeartbeatService:
    """Beats three times in a lease, so that two lost beats do no harm."""

    name = "heartbeat"

    def __init__(
        self, store: Store, lease_s: float, reporter: WorkerReporter, live_workers: LiveWorkers
    ) -> None:
        self._store = store
        self._lease_s = lease_s
        self._reporter = reporter
        self._live_workers = live_workers
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Extend the leases, record the heartbeat, and count the workers that live."""
        await self._store.jobs.extend_leases(self._reporter.leased_ids, now + self._lease_s)
        await self._store.workers.record_heartbeat(self._reporter.report(now))
        workers = await self._store.workers.heartbeats()
        alive_since = now - ALIVE_LEASES * self._lease_s
        alive = [w for w in workers if w.seen_at >= alive_since]
        leaving = [w for w in alive if w.stopping]
        self._live_workers.count = max(1, len(alive) - len(leaving))
        self._live_workers.leaving_sync_runs = sum(w.sync_runs for w in leaving)
        return self._lease_s / 3
