"""Fairness: queued jobs of a lane wait by key, and the keys take turns, one job each.

A job names its key in `fair_key`: a tenant or a user of its app. Jobs without one share a turn, as
if they named one key of their own. Within a key, jobs go by priority and age, as in a lane without
keys. Priority does not pass a turn: no key gets ahead of others by urgent jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobs.job import Job
from jobs.lanes import JobId, Lane
from jobs.tenants import tenant_job_id, tenant_of

KEYLESS: Final = ""
"""In place of a key: the jobs of a lane that name none."""

AT_CAP: Final = float("inf")
"""The turn of a key that has jobs waiting and is at its cap: it takes none until a run ends."""


@dataclass(frozen=True, slots=True)
class FairTurn:
    """The turn that the admission of a job takes."""

    at: float
    """When it takes it, Unix seconds: later ones come behind it."""
    cap: int = 0
    """How many jobs of the key may be active in the lane; 0: no limit."""


@dataclass(frozen=True, slots=True)
class FairPlace:
    """Where a queued job waits in a lane whose jobs have fair keys."""

    key: str
    """As its app names it; empty for none."""
    ahead_in_key: int
    other_keys: int
    """Keys that take turns with it, jobs without one among them."""
    ahead: int
    """About how many jobs of the lane are before it: the keys that have as many jobs as its own."""
    active: int
    """Jobs that count against the cap of its key."""
    cap: int | None = None
    """None where there is none, or it has no key."""


def fair_key_of(job: Job) -> str:
    """The key of a job as it is stored, two tenants may use one for two keys; empty for none."""
    return KEYLESS if job.fair_key is None else tenant_job_id(tenant_of(job.id), job.fair_key)


def key_queue_name(lane: Lane, key: str) -> str:
    """The name of the indexes of a key in a lane; `key` as it is stored.

    >>> key_queue_name(Lane.parse("default/model/suno"), "studio~ann")
    'default/model/suno|studio~ann'
    """
    return f"{lane}|{key}"


def in_turns(
    queues: Sequence[Sequence[tuple[JobId, float]]], rooms: Sequence[int]
) -> list[tuple[JobId, float]]:
    """The first jobs of keys as they take turns: of each the first, then of each the second.

    `queues` are the first jobs of each key, in the order of the turns of the keys; `rooms` how many
    of them may be taken.
    """
    found: list[tuple[JobId, float]] = []
    left = [queue[:room] for queue, room in zip(queues, rooms, strict=True)]
    depth = 0
    while left := [queue for queue in left if len(queue) > depth]:
        found += [queue[depth] for queue in left]
        depth += 1
    return found
