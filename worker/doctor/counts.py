"""Sizes of indexes that must agree at every moment, read in one atomic step."""

from collections.abc import Mapping
from typing import Final

from jobs.indexes import Index
from jobs.job import STUCK
from jobs.states import ACTIVE, State
from worker.store.integrity import IndexSizes, IntegrityReader
from worker.store.keys import Keys

MAX_NAMES: Final = 900
"""With more lanes or groups, sums that need them are omitted: the atomic step must be short."""

MAX_TRIES: Final = 5

LANES: Final = "lanes"
"""The size of all lanes together."""
BUDGETS: Final = "budgets"
"""The jobs that wait for a budget of a tag or batch."""
STUCK_RUNS: Final = "stuck"
"""Parked jobs whose run is still polled."""

_SUMS: Final[tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = (
    ("jobs listed", (Index.ALL,), tuple(State)),
    ("jobs that wait for a time", (Index.DUE,), (State.SCHEDULED, State.RETRYING)),
    ("jobs that wait for others", (Index.WAITING,), (State.WAITING,)),
    ("queued jobs", (Index.BYPASS, LANES, BUDGETS), (State.QUEUED,)),
    ("jobs leased or in flight", (Index.LEASE, Index.INFLIGHT), (*sorted(ACTIVE), STUCK_RUNS)),
)
"""What is counted, the sizes of its indexes, and those of its states, which have the same sum."""


async def count_mismatches(reader: IntegrityReader, keys: Keys) -> list[str]:
    """The sums that differ, in words; every write changes both sides at once."""
    for _ in range(MAX_TRIES):
        found = await _read_sizes(reader, keys)
        if found is not None:
            return compare_sums(found)
    return []  # lanes change faster than they can be counted; the walk has read every job


def compare_sums(sizes: Mapping[str, int]) -> list[str]:
    """The sums that differ, in words; a sum with a missing part is omitted."""
    found: list[str] = []
    for what, indexes, states in _SUMS:
        if not {*indexes, *states} <= sizes.keys():
            continue
        by_index, by_state = (sum(sizes[name] for name in names) for names in (indexes, states))
        if by_index != by_state:
            found.append(f"{what}: {by_index} by index, {by_state} by state")
    return found


async def _read_sizes(reader: IntegrityReader, keys: Keys) -> dict[str, int] | None:
    """The sizes at one moment; None where a lane or group was added or removed meanwhile."""
    fixed = (Index.ALL, Index.DUE, Index.WAITING, Index.BYPASS, Index.LEASE, Index.INFLIGHT)
    wanted = {keys.index(index): str(index) for index in fixed}
    wanted |= {keys.index(Index.STATE, state): str(state) for state in State}
    before = await reader.sizes([])
    lanes = _within_limit([keys.index(Index.LANE, name) for name in before.lanes or ()])
    budgets = _within_limit([keys.index(Index.BUDGET, name) for name in before.budgets or ()])
    stuck = _within_limit(
        [keys.index(Index.GROUP, name) for name in before.groups or () if _is_stuck_group(name)]
    )
    now = await reader.sizes([*wanted, *lanes, *budgets, *stuck])
    if _names(now) != _names(before):
        return None
    found = {name: now.counts[key] for key, name in wanted.items() if key in now.counts}
    for name, sets, register in (
        (LANES, lanes, now.lanes),
        (BUDGETS, budgets, now.budgets),
        (STUCK_RUNS, stuck, now.groups),
    ):
        is_complete = register is not None and len(register) <= MAX_NAMES
        if is_complete and all(key in now.counts for key in sets):
            found[name] = sum(now.counts[key] for key in sets)
    return found


def _names(sizes: IndexSizes) -> tuple[frozenset[str], ...]:
    """The names on the registers, without their order."""
    registers = (sizes.lanes, sizes.groups, sizes.budgets)
    return tuple(frozenset(names or ()) for names in registers)


def _within_limit(sets: list[str]) -> list[str]:
    return sets if len(sets) <= MAX_NAMES else []


def _is_stuck_group(name: str) -> bool:
    """Whether a group is of stuck runs: `parked|stuck|lane`."""
    state, _, rest = name.partition("|")
    return state == State.PARKED and rest.rpartition("|")[0] == STUCK
