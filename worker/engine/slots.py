"""How many jobs a worker may admit now: free slots of its own, and of all workers together."""

from dataclasses import dataclass
from typing import Final, Protocol

from jobs.admission import FreeSlots
from worker.engine.services.heartbeat import LiveWorkers
from worker.store.lanes import QueueSnapshot

MAX_SYNC_RUNS_PER_TICK: Final = 50
"""Sync runs that one tick of admission admits: hundreds of connections are opened in several steps,
so that the event loop is not held up."""


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """The slots of one worker."""

    submits: int
    """Async submits at once."""
    sync_runs: int
    """Open connections of sync runs at once."""


class SlotUsage(Protocol):
    """The slots of this worker that are taken."""

    @property
    def submitting(self) -> int:
        """Submits under way."""
        ...

    @property
    def sync_runs(self) -> int:
        """Sync runs whose connection is open."""
        ...


class SlotCounter:
    """Counts free slots.

    Any worker may submit a job that another one admitted, so the slots of all workers are limited
    together, too.
    """

    def __init__(self, limits: SlotLimits, usage: SlotUsage, live_workers: LiveWorkers) -> None:
        self._limits = limits
        self._usage = usage
        self._live_workers = live_workers

    @property
    def takes_work(self) -> bool:
        """Whether this worker admits jobs: it does until an operator drains it."""
        return not self._live_workers.is_drained

    def free(self, queues: QueueSnapshot) -> FreeSlots:
        """The slots that are free here and among all workers."""
        limits, usage, live = self._limits, self._usage, self._live_workers
        sync_count = queues.sync_count - live.leaving_sync_runs
        return FreeSlots(
            submits=min(
                limits.submits - usage.submitting,
                limits.submits * live.count - queues.submitting_count,
            ),
            sync_runs=min(
                limits.sync_runs - usage.sync_runs,
                limits.sync_runs * live.count - sync_count,
                MAX_SYNC_RUNS_PER_TICK,
            ),
        )
