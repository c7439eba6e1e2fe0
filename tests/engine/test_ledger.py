"""The ledger against the books of the sandbox: every path a charge can take, over HTTP."""

from typing import Any

import pytest

from jobs.credits.charges import Dimension, Measure
from jobs.states import State
from tests.engine.ledger_books import (
    TIMES,
    booked,
    charged_by_sandbox,
    check_costs_early,
    total_of,
    until_known,
)
from tests.engine.live_system import OPERATOR, LiveSystem
from worker.app.action_table import JobAction


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    check_costs_early(monkeypatch)


async def test_the_ledger_equals_the_books_of_the_sandbox(system: LiveSystem) -> None:
    """Answers, failed and free runs, a cancel, lost answers that are resubmitted or discarded."""
    fails: dict[str, Any] = {"fault": "fails", "times": 1, "code": "EXECUTION_FAILED"}
    free: dict[str, Any] = {**fails, "code": "PROVIDER_RESPONSE_INCOMPLETE"}
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
    assert await total_of(system, Measure.CREDITS) == expected
    assert {name: row.get(Measure.UNKNOWN, 0) for name, row in sums.items()} == dict.fromkeys(
        sums, 0
    )
    assert {row.get(Measure.ESTIMATED, 0) for row in sums.values()} == {0}
    assert (await booked(system, Dimension.TAG))["a"][Measure.CHARGES] == 3
    assert set(await booked(system, Dimension.BATCH)) == {"b"}
    assert sums["default/model/suno"][Measure.RETRIES] == 20
    assert sums["default/model/gpt-image-2"][Measure.DEAD] == 8
