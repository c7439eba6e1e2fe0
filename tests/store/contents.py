"""What lies in Redis, as plain values: to compare with what should."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from jobs.places import entries
from jobs.records import Job
from worker.store import Store
from worker.store.codec import decode_job

Scores = dict[str, float]


async def wait_until(is_true: Callable[[], bool]) -> None:
    """Let the others run until it is true."""
    async with asyncio.timeout(5):
        while not is_true():  # noqa: ASYNC110  what it looks at has no event
            await asyncio.sleep(0)


async def keys_of(store: Store) -> set[str]:
    """Every key of the namespace."""
    found: list[bytes] = await store.client.call("KEYS", f"{store.keys.namespace}:*")
    return {key.decode() for key in found}


async def sorted_set(store: Store, key: str) -> Scores:
    rows: list[bytes] = await store.client.call("ZRANGE", key, 0, -1, "WITHSCORES")
    return {m.decode(): float(s) for m, s in zip(rows[::2], rows[1::2], strict=True)}


async def indexes(store: Store) -> dict[str, Scores]:
    """Every sorted set of the namespace that is an index of jobs."""
    aside = {store.keys.lanes, store.keys.groups, store.keys.sync_only, store.keys.arq_queue}
    aside |= {store.keys.holds, store.keys.cool_downs, store.keys.costs, store.keys.audit}
    jobs = store.keys.job("")
    names = sorted(k for k in await keys_of(store) if k not in aside and not k.startswith(jobs))
    rows = await store.client.many([("ZRANGE", name, 0, -1, "WITHSCORES") for name in names])
    return {
        name: {m.decode(): float(s) for m, s in zip(row[::2], row[1::2], strict=True)}
        for name, row in zip(names, rows, strict=True)
    }


def expected(store: Store, jobs: Iterable[Job]) -> dict[str, Scores]:
    """The indexes that jobs should have, by `jobs.places` alone."""
    found: dict[str, Scores] = {}
    for job in jobs:
        for entry in entries(job):
            found.setdefault(store.keys.entry(entry), {})[job.id] = entry.score
    return found


async def records(store: Store) -> dict[str, tuple[str, Job]]:
    """Every job's revision and record."""
    prefix = store.keys.job("")
    names = sorted(key for key in await keys_of(store) if key.startswith(prefix))
    rows: list[Any] = await store.client.many([("HMGET", name, "rev", "rec") for name in names])
    return {
        name.removeprefix(prefix): (rev.decode(), decode_job(rec))
        for name, (rev, rec) in zip(names, rows, strict=True)
    }


async def everything(store: Store) -> dict[str, Any]:
    """Every key with its content, to prove that nothing was written."""
    names = sorted(await keys_of(store))
    return dict(zip(names, await store.client.many([("DUMP", n) for n in names]), strict=True))
