"""A delivery names no cost: the provider's list of runs tells it afterwards."""

import pytest

from jobs.credits.charges import Measure
from jobs.credits.sources import CostSource
from tests.engine.ledger_books import (
    TIMES,
    charged_by_sandbox,
    check_costs_early,
    total_of,
    until_known,
)
from tests.webhooks.webhook_system import WebhookSystem


async def test_the_cost_of_a_run_that_a_webhook_settled_is_read_from_the_list(
    hooked: WebhookSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_costs_early(monkeypatch)
    system = hooked.system
    async with hooked.worker(**TIMES):
        ids = [await system.enqueue(job_id=f"j{n}", duration_s=0.1) for n in range(5)]
        ids.append(await system.enqueue(job_id="fails", fault="fails", times=1))
        await system.all_until(ids)
        await until_known(system, ids)
        expected = await charged_by_sandbox(system)
    jobs = [await system.job(job_id) for job_id in ids]
    assert {attempt.polls for job in jobs for attempt in job.attempts} == {0}
    sources = {attempt.cost_source for job in jobs for attempt in job.attempts}
    assert sources == {CostSource.USAGE}
    assert sum(job.cost or 0 for job in jobs) == expected
    assert await total_of(system, Measure.USAGE) == expected
