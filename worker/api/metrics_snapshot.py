"""What `/metrics` shows, read in a bounded number of calls."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jobs.states import State
from worker.app.budgets import ShownBudget
from worker.app.queries import QueueStats
from worker.app.use_cases import UseCases
from worker.store import Store
from worker.store.callbacks import CallbackCounts
from worker.store.read.queries import WebhookHealth


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """One reading of the gauges and the counters."""

    stats: QueueStats
    counters: Mapping[str, float]
    codes: Mapping[State, Mapping[str, int]]
    """Of parked and dead jobs: how many have each code; unknown codes are one, `other`."""
    holds: Mapping[tuple[str, str], int]
    """(phase, code) → number of holds."""
    webhooks: WebhookHealth
    budgets: Sequence[ShownBudget]
    callbacks: CallbackCounts
    now: float
    """Unix seconds."""


async def read_snapshot(store: Store, use_cases: UseCases, now: float) -> MetricsSnapshot:
    """Read the snapshot; raises what Redis raises."""
    stats, counters, parked, dead, holds, webhooks = await asyncio.gather(
        use_cases.queries.stats(),
        store.metrics.counters.read(),
        store.read.queries.group_sizes(State.PARKED),
        store.read.queries.group_sizes(State.DEAD),
        store.holds.list_all(),
        store.read.queries.webhook_health(now),
    )
    label = store.metrics.buffer.code_label
    return MetricsSnapshot(
        stats=stats,
        counters=counters,
        codes={State.PARKED: _sum_by(label, parked), State.DEAD: _sum_by(label, dead)},
        holds=Counter((hold.phase.value, label(hold.code)) for hold in holds),
        webhooks=webhooks,
        budgets=await use_cases.budgets.list_all(),
        callbacks=await store.callbacks.counts(),
        now=now,
    )


def _sum_by(label: Callable[[str], str], sizes: Sequence[tuple[str, int]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for code, size in sizes:
        sums[label(code)] += size
    return sums
