"""A snapshot of all indexes: every job has the entries of its record, and there are no others."""

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

RESCHEDULED = frozenset({Index.LEASE, Index.INFLIGHT})
"""Indexes whose scores change without a new record: a claimed poll, an extended lease."""


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
"""Reads everything at one moment. It uses keys outside KEYS, so it needs a Redis of its own."""


@dataclass(frozen=True, slots=True)
class IndexSnapshot:
    """Records and indexes as they were at one moment."""

    jobs: dict[str, Job]
    wrong_indexes: list[str]
    """Each wrong entry as one line of text."""


async def take_snapshot(store: Store) -> IndexSnapshot:
    """Read every job and every index at once; workers may run."""
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
        f"{key}: the score of {job_id} is {have.get(job_id)}, expected {want.get(job_id)}"
        for key in sorted(found.keys() | wanted.keys())
        for have, want in [(found.get(key, {}), wanted.get(key, {}))]
        for job_id in sorted(have.keys() | want.keys())
        if not _agree(key, have.get(job_id), want.get(job_id))
    ]


def _agree(key: str, found: float | None, wanted: float | None) -> bool:
    may_differ = key.split(":")[1] in RESCHEDULED
    return found == wanted or (may_differ and None not in (found, wanted))
