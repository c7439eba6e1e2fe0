"""The heartbeat: shows that this worker lives, and extends the leases of its jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from worker.clock import Clock
from worker.engine.beat_history import BeatHistory
from worker.engine.clock_follower import ClockFollower
from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.workers import ALIVE_LEASES, Heartbeat

log: Final = structlog.get_logger(__name__)


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
    is_drained: bool = False
    """An operator took this worker out of service."""
    eviction_policy: str = ""
    """How Redis evicts keys when it is full; empty if it does not."""
    seen: dict[str, float] = field(default_factory=dict[str, float])
    """Workers that were alive lately, also those that Redis has forgotten; and when they were seen,
    as if Redis had never been away."""

    dead: frozenset[str] = frozenset()
    """Workers whose heartbeats are too old."""

    def record_seen(self, beats: Sequence[Heartbeat], now: float, lease_s: float) -> None:
        """Take in the heartbeats that were found."""
        oldest = now - ALIVE_LEASES * lease_s
        alive = [beat for beat in beats if beat.seen_at >= oldest]
        self.dead = frozenset(beat.id for beat in beats if beat.seen_at < oldest)
        away_s = now - max(self.seen.values(), default=now)
        shift_s = away_s if away_s > lease_s else 0.0
        known = {name: at + shift_s for name, at in self.seen.items()}
        known |= {beat.id: beat.seen_at for beat in alive}
        self.seen = {name: at for name, at in known.items() if at >= now - ALIVE_LEASES * lease_s}


class HeartbeatService:
    """Beats three times in a lease, so that two lost beats do no harm."""

    name = "heartbeat"

    def __init__(
        self,
        store: Store,
        lease_s: float,
        reporter: WorkerReporter,
        *,
        live_workers: LiveWorkers,
        admission_wakeup: Wakeup,
        clock_follower: ClockFollower,
        beat_history: BeatHistory,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lease_s = lease_s
        self._reporter = reporter
        self._live_workers = live_workers
        self._admission_wakeup = admission_wakeup
        self._clock_follower = clock_follower
        self._beat_history = beat_history
        self._clock = clock
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Extend the leases, record the heartbeat, and count the workers that live.

        Also reads whether an operator drains this worker, and the time of Redis.
        """
        await self._store.jobs.extend_leases(self._reporter.leased_ids, now + self._lease_s)
        report, live = self._reporter.report(now), self._live_workers
        await self._store.workers.record_heartbeat(report)
        asked_at = self._clock_follower.steady()
        found = await self._store.workers.surroundings(report.id)
        workers, is_drained, redis_time, live.eviction_policy = found
        is_clock_changed = self._clock_follower.compare(redis_time, asked_at)
        self._beat_history.record(self._clock.now())
        alive_since = now - ALIVE_LEASES * self._lease_s
        alive = [w for w in workers if w.seen_at >= alive_since]
        live.record_seen(workers, now, self._lease_s)
        leaving = [w for w in alive if not w.takes_work]
        live.count = max(1, len(alive) - len(leaving))
        live.leaving_sync_runs = sum(w.sync_runs for w in leaving)
        if is_drained is not live.is_drained:
            live.is_drained = is_drained
            event = "worker.drained" if is_drained else "worker.drain_undone"
            log.info(event, worker=report.id, sync_runs=report.sync_runs)
            self._admission_wakeup.notify()
            return 0.0  # report it at once
        if is_clock_changed:
            self._admission_wakeup.notify()
            return 0.0
        return self._lease_s / 3
