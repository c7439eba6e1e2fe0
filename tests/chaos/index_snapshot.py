"""The census: every job stands exactly where its record says, and nobody else anywhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jobs.indexes import Index, entries
from jobs.job import Job
from worker.store import Store
from worker.store.client import pairs
from worker.store.codec import decode_job
from worker.store.keys import Keys

Members = dict[str, float]

MOVING = frozenset({Index.LEASE, Index.INFLIGHT})
"""Indexes whose scores are pushed on without a new record: a claimed poll, an extended lease."""


KINDS = frozenset(kind.value for kind in Index)

SNAPSHOT = """
local found = {}
for _, key in ipairs(redis.call("KEYS", ARGV[1] .. ":*")) do
  local kind = redis.call("TYPE", key).ok
  if kind == "zset" then
    found[#found + 1] = {key, redis.call("ZRANGE", key, 0, -1, "WITHSCORES")}
  elseif kind == "hash" then
    found[#found + 1] = {key, redis.call("HGET", key, "rec")}
  end
end
return found
"""
"""Everything at one moment. It names keys that it was not given: for a Redis of our own only."""


@dataclass(frozen=True, slots=True)
class IndexSnapshot:
    """Records and indexes as they were at one moment."""

    jobs: dict[str, Job]
    wrong_indexes: list[str]
    """What is wrong, a line each."""


async def take_snapshot(store: Store) -> IndexSnapshot:
    """Look at every job and every index at once; the system may be at work."""
    keys = store.keys
    rows: list[Any] = await store.client.call("EVAL", SNAPSHOT, 0, keys.namespace)
    jobs: dict[str, Job] = {}
    found: dict[str, Members] = {}
    for key, content in ((row[0].decode(), row[1]) for row in rows):
        if key.startswith(keys.job("")):
            jobs[key.removeprefix(keys.job(""))] = decode_job(content)
        elif key.split(":")[1] in KINDS:
            found[key] = dict(pairs(content))
    return IndexSnapshot(jobs, _wrong_indexes(found, _expected(keys, jobs.values())))


def _expected(keys: Keys, jobs: Iterable[Job]) -> dict[str, Members]:
    wanted: dict[str, Members] = {}
    for job in jobs:
        for entry in entries(job):
            wanted.setdefault(keys.entry(entry), {})[job.id] = entry.score
    return wanted


def _wrong_indexes(found: dict[str, Members], wanted: dict[str, Members]) -> list[str]:
    return [
        f"{key}: {job_id} stands at {here.get(job_id)}, should at {there.get(job_id)}"
        for key in sorted(found.keys() | wanted.keys())
        for here, there in [(found.get(key, {}), wanted.get(key, {}))]
        for job_id in sorted(here.keys() | there.keys())
        if not _agree(key, here.get(job_id), there.get(job_id))
    ]


def _agree(key: str, found: float | None, wanted: float | None) -> bool:
    moves = key.split(":")[1] in MOVING
    return found == wanted or (moves and None not in (found, wanted))
