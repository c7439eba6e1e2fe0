"""`credits reconcile` against a sandbox whose list has foreign, missing and changed rows."""

import time

import pytest

from jobs.credits.reconcile import DifferenceKind, Reconciliation
from tests.engine.ledger_books import TIMES
from tests.engine.live_system import LiveSystem
from worker.app.reconciling import ListNotRead, Reconciler
from worker.clock import SystemClock
from worker.compose.provider import build_provider

DAY_S = 86_400


async def reconciled(system: LiveSystem, grace_s: float = -5.0) -> Reconciliation:
    """Compare the last day; rows of runs that were just sent are due, too."""
    settings = system.settings
    provider = build_provider(settings)
    work = Reconciler(system.store, provider, SystemClock(), settings.base_url, grace_s)
    try:
        return await work.reconcile("default", tuple(settings.accounts), time.time() - DAY_S)
    finally:
        await provider.close()


async def test_each_difference_is_named(system: LiveSystem) -> None:
    async with system.worker(**TIMES):
        ids = [
            await system.enqueue("suno", job_id="right"),
            await system.enqueue("kling-2-5", job_id="right-sync"),
            await system.enqueue("suno", job_id="changed", usage={"credits": 99}),
            await system.enqueue("suno", job_id="missing", usage={"missing": True}),
            await system.enqueue("kling-2-5", job_id="missing-sync", usage={"missing": True}),
        ]
        await system.all_until(ids)
        await system.sandbox_admin(
            "usage", foreign={"target": "seedance-2-0", "credits": 40, "age_s": 9}
        )
        found = await reconciled(system)
    named = {(one.kind, one.job_id, one.ours, one.theirs) for one in found.differences}
    assert named == {
        (DifferenceKind.OTHER_COST, "changed", 10, 99),
        (DifferenceKind.MISSING_ROW, "missing", 10, None),
        (DifferenceKind.MISSING_ROW, "missing-sync", 35, None),
        (DifferenceKind.FOREIGN_ROW, "", None, 40),
    }
    assert (found.ours, found.theirs) == (100, 10 + 35 + 99 + 40)
    (foreign,) = [one for one in found.differences if not one.job_id]
    assert foreign.target == "seedance-2-0"


async def test_without_a_difference_nothing_is_named(system: LiveSystem) -> None:
    async with system.worker(**TIMES):
        ids = [await system.enqueue(name) for name in ("suno", "kling-2-5", "gpt-image-2")]
        ids.append(await system.enqueue("suno", fault="fails", times=1, code="EXECUTION_FAILED"))
        jobs = await system.all_until(ids)
        found = await reconciled(system)
    assert {one.kind for one in found.differences} <= {DifferenceKind.NOT_READ_YET}
    assert sum(len(job.attempts) for job in jobs) == found.runs == found.rows == 5


async def test_a_list_that_cannot_be_read_is_an_error(system: LiveSystem) -> None:
    await system.sandbox_admin("faults", fault="HTTP_403", match={"route": "usage"})
    with pytest.raises(ListNotRead, match="could not be read"):
        await reconciled(system)
