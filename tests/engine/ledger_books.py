"""What the ledger and the sandbox's books say about a running system, and how to compare them."""

from collections.abc import Sequence
from typing import Final

import pytest

from jobs.credits import closing
from jobs.credits.charges import MICRO, Dimension, Measure, day_of
from jobs.credits.closing import awaits_cost
from tests.engine.live_system import LiveSystem, wait_until
from worker.clock import SystemClock
from worker.engine.services import cost_reader

TIMES: Final = {"evidence_grace_s": 0.5, "sync_timeout_s": 5.0}


def check_costs_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are looked for at once, and again and again."""
    monkeypatch.setattr(closing, "FIRST_CHECK_S", 0.1)
    monkeypatch.setattr(cost_reader, "READ_EVERY_S", 0.1)
    monkeypatch.setattr(cost_reader, "TICK_S", 0.1)


async def booked(
    system: LiveSystem, dimension: Dimension = Dimension.LANE
) -> dict[str, dict[Measure, float]]:
    """Name → the sums of today and yesterday, credits in credits."""
    now = SystemClock().now()
    found: dict[str, dict[Measure, float]] = {}
    async for one in system.store.ledger.sums([day_of(now - 86_400), day_of(now)], dimension):
        own = found.setdefault(one.name, {})
        is_count = one.measure in (Measure.CHARGES, Measure.UNKNOWN)
        own[one.measure] = own.get(one.measure, 0) + one.amount / (1 if is_count else MICRO)
    return found


async def total_of(system: LiveSystem, measure: Measure) -> float:
    """The sum of a measure over all lanes."""
    return sum(row.get(measure, 0) for row in (await booked(system)).values())


async def charged_by_sandbox(system: LiveSystem) -> float:
    """What the sandbox deducted for all runs."""
    labels = await system.labels()
    return float(sum(row["credits"] for row in labels.values()))


async def until_known(system: LiveSystem, job_ids: Sequence[str]) -> None:
    """Wait until no attempt of the jobs has an estimate."""

    async def is_known() -> bool:
        jobs = [await system.job(job_id) for job_id in job_ids]
        return not any(awaits_cost(attempt) for job in jobs for attempt in job.attempts)

    await wait_until(is_known, "the costs of all attempts", 30)
