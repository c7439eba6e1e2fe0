"""The contents of Redis as plain values, and the contents that a test expects."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from jobs.fairness import AT_CAP, KEYLESS, fair_key_of
from jobs.indexes import Index, entries, watched_index
from jobs.job import Job
from jobs.states import ACTIVE, State
from worker.store import Store
from worker.store.codec import decode_job
from worker.store.commit import TransitionEvent
from worker.store.events import (
    BALANCE_EVENT_FIELD,
    BATCH_EVENT_FIELD,
    BREAKER_EVENT_FIELD,
    BUDGET_EVENT_FIELD,
    SCHEDULE_EVENT_FIELD,
)

NOTICE_FIELDS = (
    BREAKER_EVENT_FIELD,
    BUDGET_EVENT_FIELD,
    BALANCE_EVENT_FIELD,
    SCHEDULE_EVENT_FIELD,
    BATCH_EVENT_FIELD,
)

Scores = dict[str, float]


async def wait_until(is_true: Callable[[], bool]) -> None:
    """Run other tasks until the condition is true."""
    async with asyncio.timeout(5):
        while not is_true():  # noqa: ASYNC110  the condition has no event to wait for
            await asyncio.sleep(0)


async def keys_of(store: Store) -> set[str]:
    """Every key of the namespace."""
    found: list[bytes] = await store.client.call("KEYS", f"{store.keys.namespace}:*")
    return {key.decode() for key in found}


def is_index(store: Store, key: str) -> bool:
    """Whether a key is an index that is derived from job records."""
    kinds = tuple(store.keys.index(kind) for kind in Index)
    return key in kinds or key.startswith(tuple(f"{kind}:" for kind in kinds))


def is_ledger(store: Store, key: str) -> bool:
    """Whether a key is a sum of the ledger, which outlives jobs."""
    return key.startswith(f"{store.keys.namespace}:ledger:")


def is_of_batches(store: Store, key: str) -> bool:
    """Whether a key is what is known of batches beside the indexes of their jobs."""
    return key == store.keys.batch_changes or key.startswith(store.keys.batch_record(""))


async def sorted_set(store: Store, key: str) -> Scores:
    rows: list[bytes] = await store.client.call("ZRANGE", key, 0, -1, "WITHSCORES")
    return {m.decode(): float(s) for m, s in zip(rows[::2], rows[1::2], strict=True)}


GIVEN_BY_REDIS = 0.0
"""In place of a score that no record names: the order in which jobs of a batch settled."""


async def indexes(store: Store) -> dict[str, Scores]:
    """Every sorted set of the namespace that is an index of jobs."""
    names = sorted(key for key in await keys_of(store) if is_index(store, key))
    rows = await store.client.many([("ZRANGE", name, 0, -1, "WITHSCORES") for name in names])
    settled = store.keys.index(Index.BATCH_SETTLED, "x")[:-1]
    return {
        name: {
            m.decode(): GIVEN_BY_REDIS if name.startswith(settled) else float(s)
            for m, s in zip(row[::2], row[1::2], strict=True)
        }
        for name, row in zip(names, rows, strict=True)
    }


def expected_indexes(store: Store, jobs: Iterable[Job]) -> dict[str, Scores]:
    """The indexes that `jobs.indexes` derives from jobs."""
    found: dict[str, Scores] = {}
    for job in jobs:
        for entry in entries(job):
            is_given = entry.kind is Index.BATCH_SETTLED
            score = GIVEN_BY_REDIS if is_given else entry.score
            found.setdefault(store.keys.entry(entry), {})[job.id] = score
    return found


def expected_turns(store: Store, jobs: Iterable[Job]) -> dict[str, set[str]]:
    """The fair keys that have jobs waiting, by the key of the turns of their lane."""
    found: dict[str, set[str]] = {}
    for job in jobs:
        watched = watched_index(job)
        if job.fair_key is not None and watched is not None and watched.kind is Index.LANE:
            turns = store.keys.key_turns(str(job.lane))
            found.setdefault(turns, {KEYLESS}).add(fair_key_of(job))
    return found


def keys_without_a_turn(turns: Scores, jobs: Iterable[Job]) -> set[str]:
    """The keys that are at their cap, of whose jobs none is active: no end of a run frees them."""
    active = {fair_key_of(job) for job in jobs if job.fair_key is not None and job.state in ACTIVE}
    return {key for key, at in turns.items() if at == AT_CAP} - active


async def records(store: Store) -> dict[str, tuple[str, Job]]:
    """Every job's revision and record."""
    prefix = store.keys.job("")
    names = sorted(key for key in await keys_of(store) if key.startswith(prefix))
    rows: list[Any] = await store.client.many([("HMGET", name, "rev", "rec") for name in names])
    return {
        name.removeprefix(prefix): (rev.decode(), decode_job(rec))
        for name, (rev, rec) in zip(names, rows, strict=True)
    }


async def transition_events(store: Store) -> list[list[TransitionEvent]]:
    """The stream of events: the transitions of each entry, in order.

    By a script, since redis-py makes a dictionary of an entry, and all its fields are called `t`.
    """
    script = 'return redis.call("XRANGE", KEYS[1], "-", "+")'
    rows: list[Any] = await store.client.call("EVAL", script, 1, store.keys.events)
    found: list[list[TransitionEvent]] = []
    for _, fields in rows:
        if fields[0] in NOTICE_FIELDS:
            continue
        assert set(fields[::2]) == {b"t"}
        found.append([msgspec.json.decode(field, type=TransitionEvent) for field in fields[1::2]])
    return found


async def state_changes_of(store: Store, job_id: str) -> list[tuple[State | None, State]]:
    """Each state change of a job in the stream: the states before and after."""
    return [
        (event.before, event.after)
        for entry in await transition_events(store)
        for event in entry
        if event.id == job_id
    ]


async def poll_history_ids(store: Store) -> set[str]:
    """Ids of the jobs that have a stored poll history."""
    found: list[bytes] = await store.client.call("HKEYS", store.keys.polls)
    return {job_id.decode() for job_id in found}


async def everything(store: Store) -> dict[str, Any]:
    """Every key with its content, to prove that nothing was written."""
    names = sorted(await keys_of(store))
    return dict(zip(names, await store.client.many([("DUMP", n) for n in names]), strict=True))


async def latest_audit_entries(store: Store, limit: int) -> list[dict[str, str]]:
    """The fields of the latest audit entries as they are stored, with their ids, newest first."""
    rows = await store.client.call("XREVRANGE", store.keys.audit, "+", "-", "COUNT", limit)
    return [
        {name.decode(): value.decode() for name, value in fields.items()} | {"id": entry.decode()}
        for entry, fields in rows
    ]
