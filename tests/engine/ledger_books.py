"""What the ledger and the sandbox's books say about a running system, and how to compare them."""

from collections.abc import Sequence
from typing import Final

import pytest

from jobs.credits import closing
from jobs.credits.charges import MICRO, Dimension, Measure, day_of
from jobs.credits.closing import awaits_cost
from jobs.indexes import Index
from tests.engine.live_system import LiveSystem, wait_until
from worker.clock import SystemClock
from worker.compose.decision_rules import decision_rules
from worker.compose.provider import build_provider
from worker.engine.account_identities import AccountIdentities
from worker.engine.services import cost_reader
from worker.engine.services.cost_reader import CostReader
from worker.engine.usage_lists import UsageLists
from worker.engine.wakeups import Wakeups
from worker.engine.worker_parts import WorkerContext

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


class LaterClock(SystemClock):
    """A clock that is ahead, so that everything is due."""

    ahead_s = 3_600.0

    def now(self) -> float:
        return super().now() + self.ahead_s


async def read_all_costs(system: LiveSystem, most: int = 10) -> None:
    """Read the list of runs, as a worker does much later, until all costs are known."""
    settings, store, clock = system.settings, system.store, LaterClock()
    accounts = tuple(settings.accounts)
    provider = build_provider(settings)
    identities = AccountIdentities(provider, clock, settings.base_url)
    context = WorkerContext(
        "reader", store, clock, Wakeups(), decision_rules(settings), settings.lease_s, accounts
    )
    lists = UsageLists(provider, store.holds, clock)
    times = {"grace_s": settings.evidence_grace_s, "sync_timeout_s": settings.sync_timeout_s}
    reader = CostReader(context, lists, identities, frozenset(), **times)
    try:
        while await store.evidence.due_times(accounts, Index.COST) and most:
            for lease in await store.client.call("KEYS", store.keys.usage_lease(Index.COST, "*")):
                await store.client.call("DEL", lease)
            await reader.tick(clock.now())
            clock.ahead_s += 3_600
            most -= 1
    finally:
        await identities.close()
        await provider.close()


async def until_known(system: LiveSystem, job_ids: Sequence[str]) -> None:
    """Wait until no attempt of the jobs has an estimate."""

    async def is_known() -> bool:
        jobs = [await system.job(job_id) for job_id in job_ids]
        return not any(awaits_cost(attempt) for job in jobs for attempt in job.attempts)

    await wait_until(is_known, "the costs of all attempts", 30)
