"""When running jobs are likely to end, from how long earlier runs of their targets took."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.job import Job
from jobs.lanes import JobId
from jobs.polling.estimator import estimate_durations
from jobs.polling.samples import Distribution
from jobs.states import State
from worker.store.durations import DurationStore, TargetName, decode_sketch, target_of

MIN_RUNS: Final = 5
"""With fewer runs there is no estimate."""

LATE_QUANTILE: Final = 0.9

MAX_CACHED_TARGETS: Final = 200
"""Targets whose distribution is kept in memory until a run of them ends."""


@dataclass(frozen=True, slots=True)
class Eta:
    """When a run is likely to end, Unix seconds."""

    likely_at: float
    """The median: it ends as likely before as after."""
    late_at: float | None
    """Nine of ten runs of this age end by then; None where no run took that long."""


class EtaEstimator:
    """Estimates from the stored samples of durations."""

    def __init__(self, durations: DurationStore) -> None:
        self._durations = durations
        self._cache: OrderedDict[TargetName, tuple[Sequence[bytes], Distribution | None]] = (
            OrderedDict()
        )

    async def etas(self, jobs: Iterable[Job], now: float) -> dict[JobId, Eta]:
        """By job id, when the running jobs are likely to end, where that is known.

        One round trip, however many jobs.
        """
        running = [job for job in jobs if job.state is State.RUNNING and job.submitted_at]
        targets = sorted({target_of(job.lane) for job in running})
        if not targets:
            return {}
        sketches = await self._durations.read(targets)
        estimates = {target: self._estimate(target, rows) for target, rows in sketches.items()}
        found = {job.id: _eta(estimates[target_of(job.lane)], job, now) for job in running}
        return {job_id: eta for job_id, eta in found.items() if eta is not None}

    def _estimate(self, target: TargetName, rows: Sequence[bytes]) -> Distribution | None:
        """The distribution of a target; made again only when samples were added."""
        known = self._cache.pop(target, None)
        if known is None or known[0] != rows:
            enough = len(rows) >= MIN_RUNS
            known = rows, estimate_durations(decode_sketch(rows)) if enough else None
        self._cache[target] = known
        while len(self._cache) > MAX_CACHED_TARGETS:
            self._cache.popitem(last=False)
        return known[1]


def _eta(estimate: Distribution | None, job: Job, now: float) -> Eta | None:
    if estimate is None or job.submitted_at is None:
        return None
    age = max(0.0, now - job.submitted_at)
    likely, late = estimate.remaining_s(age, 0.5), estimate.remaining_s(age, LATE_QUANTILE)
    if likely is None:
        return None
    return Eta(now + likely, None if late is None else now + late)
