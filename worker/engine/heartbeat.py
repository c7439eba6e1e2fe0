"""The heartbeat: says that this worker lives, and extends the leases of what it holds."""

from collections.abc import Callable

import msgspec

from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.workers import ALIVE_LEASES, Heartbeat


class HeartbeatService:
    """Beats three times a lease, so that two lost beats lose nothing."""

    name = "heartbeat"

    def __init__(
        self,
        store: Store,
        lease_s: float,
        *,
        leased: Callable[[], tuple[str, ...]],
        describe: Callable[[float], Heartbeat],
        set_worker_count: Callable[[int], None],
    ) -> None:
        self._store = store
        self._lease_s = lease_s
        self._leased = leased
        self._describe = describe
        self._set_worker_count = set_worker_count
        self.wakeup = Wakeup()
        self.failures: Callable[[], dict[str, str]] = dict
        """Services that are being restarted, with the class of their last error."""

    async def tick(self, now: float) -> float:
        """Extend leases, beat, and count the workers that live."""
        await self._store.jobs.extend_leases(self._leased(), now + self._lease_s)
        beat = msgspec.structs.replace(self._describe(now), failures=self.failures())
        await self._store.workers.record_heartbeat(beat)
        workers = await self._store.workers.heartbeats()
        fresh = now - ALIVE_LEASES * self._lease_s
        alive = [w for w in workers if w.seen_at >= fresh and not w.stopping]
        self._set_worker_count(max(1, len(alive)))
        return self._lease_s / 3
