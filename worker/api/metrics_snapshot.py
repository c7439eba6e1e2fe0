"""Everything `/metrics` shows that is not a counter: read at once, in a bounded number of calls."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.states import State
from worker.app.queries import Review, Stats
from worker.store import Store
from worker.store.read.queries import WebhookHealth


@dataclass(frozen=True, slots=True)
class Readings:
    """How things stand, and the counters."""

    stats: Stats
    counters: Mapping[str, float]
    codes: Mapping[State, Mapping[str, int]]
    """Of parked and dead jobs: how many have each code."""
    holds: Mapping[tuple[str, str], int]
    """(phase, code) → number of holds."""
    webhooks: WebhookHealth


async def read_all(store: Store, review: Review, now: float) -> Readings:
    """Read it; raises what Redis raises."""
    stats, counters, parked, dead, holds, webhooks = await asyncio.gather(
        review.stats(),
        store.counters.read(),
        store.queries.group_sizes(State.PARKED),
        store.queries.group_sizes(State.DEAD),
        store.gates.holds(),
        store.queries.webhook_health(now),
    )
    return Readings(
        stats=stats,
        counters=counters,
        codes={State.PARKED: _by_code(parked), State.DEAD: _by_code(dead)},
        holds=Counter((hold.phase.value, hold.code) for hold in holds),
        webhooks=webhooks,
    )


def _by_code(sizes: Sequence[tuple[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for code, size in sizes:
        found[code] += size
    return found
