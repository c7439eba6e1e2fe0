"""The indexes that a job may be in whose record cannot be read."""

from typing import Final

from jobs.breakers import BreakerCause, breaker_id
from jobs.evidence.records import EvidenceFinding
from jobs.holds import hold_id
from jobs.indexes import UNNAMED_INDEXES, Index
from jobs.lanes import Scope
from jobs.states import State
from worker.store.client import Client, texts
from worker.store.keys import Keys

LANE_INDEXES: Final = (Index.LANE, Index.ACTIVE, Index.UNPRICED)
"""Indexes of jobs by lane."""


async def candidate_index_keys(client: Client, keys: Keys) -> list[str]:
    """Every index that can hold a job whose record is unreadable, but tags and batches."""
    lanes, groups, holds, breakers, budgets = await client.many(
        [
            ("ZRANGE", keys.lanes, 0, -1),
            ("ZRANGE", keys.groups, 0, -1),
            ("HKEYS", keys.holds),
            ("HKEYS", keys.breakers),
            ("ZRANGE", keys.budget_waits, 0, -1),
        ]
    )
    found = [keys.index(kind) for kind in UNNAMED_INDEXES if kind is not Index.ALL]
    found += [keys.index(Index.STATE, state) for state in State]
    for lane in texts(lanes):
        account, _, target = lane.partition("/")
        found += [keys.index(kind, account) for kind in (Index.EVIDENCE, Index.COST)]
        found += [keys.index(kind, lane) for kind in LANE_INDEXES]
        found.append(keys.index(Index.TARGET, target))
    found += [keys.index(Index.BUDGET, name) for name in texts(budgets)]
    named = [""] + ["|" + name.partition("|")[2] for name in texts(groups)]
    found += [keys.index(Index.FINDING, f"{f}{n}") for f in EvidenceFinding for n in named]
    found += [keys.index(Index.GROUP, group) for group in texts(groups)]
    for key in texts(holds):
        scope, _, code = key.partition("|")
        name = hold_id(Scope(scope), code)
        found += [keys.index(kind, name) for kind in (Index.GATE, Index.HELD)]
    for key in texts(breakers):
        scope, _, cause = key.partition("|")
        name = breaker_id(Scope(scope), BreakerCause(cause))
        found.append(keys.index(Index.GATE, name))
    return found
