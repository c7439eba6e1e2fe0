"""The ledger against the books of the sandbox: every path a charge can take, over HTTP."""

from typing import Any

import pytest

from jobs.credits import closing
from jobs.credits.charges import MICRO, Dimension, Measure, day_of
from jobs.credits.closing import awaits_cost
from jobs.states import State
from tests.engine.live_system import OPERATOR, LiveSystem, wait_until
from worker.app.action_table import JobAction
from worker.clock import SystemClock
from worker.engine.services import cost_reader

TIMES = {"evidence_grace_s": 0.5, "sync_timeout_s": 5.0}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def charged_by_sandbox(system: LiveSystem) -> float:
    """What the sandbox deducted for all runs."""
    labels: dict[str, Any] = await system.labels()
    return sum(row["credits"] for row in labels.values())


async def until_known(system: LiveSystem, job_ids: list[str]) -> None:
    """Wait until no attempt of the jobs has an estimate."""

    async def is_known() -> bool:
        jobs = [await system.job(job_id) for job_id in job_ids]
        return not any(awaits_cost(attempt) for job in jobs for attempt in job.attempts)

    await wait_until(is_known, "the costs of all attempts", 30)


async def test_the_ledger_equals_the_books_of_the_sandbox(system: LiveSystem) -> None:
    """Answers, failed and free runs, a cancel, lost answers that are resubmitted or discarded."""
    fails = {"fault": "fails", "times": 1, "code": "EXECUTION_FAILED"}
    free = fails | {"code": "PROVIDER_RESPONSE_INCOMPLETE"}
    async with system.worker(**TIMES):
        ids = [await system.enqueue("suno", job_id=f"ok-{n}", tags=("a",)) for n in range(3)]
        ids += [
            await system.enqueue("kling-2-5", job_id="sync", batch="b"),
            await system.enqueue("suno", job_id="fails", **fails),
            await system.enqueue("suno", job_id="free", **free),
            await system.enqueue("kling-2-5", job_id="sync-fails", **fails),
            await system.enqueue("suno", job_id="lost", fault="drop_after", times=1),
            await system.enqueue("gpt-image-2", job_id="gone", fault="drop_after", times=1),
            await system.enqueue("suno", job_id="never", fault="drop_before", times=1),
        ]
        cancelled = await system.enqueue("suno", job_id="cancelled", duration_s=60)
        await system.until(cancelled, State.RUNNING)
        await system.actions.act(JobAction.CANCEL, cancelled, OPERATOR)
        await system.all_until([*ids, cancelled], within_s=30)
        for job_id, action in (
            ("lost", JobAction.RESUBMIT),
            ("never", JobAction.RESUBMIT),
            ("gone", JobAction.DISCARD),
        ):
            assert (await system.job(job_id)).state is State.PARKED
            await system.actions.act(action, job_id, OPERATOR)
        await system.all_until(["lost", "never"], State.SUCCEEDED)
        await until_known(system, [*ids, cancelled])
        expected = await charged_by_sandbox(system)
    sums = await booked(system)
    assert sum(row[Measure.CREDITS] for row in sums.values()) == expected
    assert {name: row.get(Measure.UNKNOWN, 0) for name, row in sums.items()} == dict.fromkeys(
        sums, 0
    )
    assert {row.get(Measure.ESTIMATED, 0) for row in sums.values()} == {0}
    assert (await booked(system, Dimension.TAG))["a"][Measure.CHARGES] == 3
    assert set(await booked(system, Dimension.BATCH)) == {"b"}
    assert sums["default/model/suno"][Measure.RETRIES] == 20
    assert sums["default/model/gpt-image-2"][Measure.DEAD] == 8
