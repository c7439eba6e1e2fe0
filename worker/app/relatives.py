"""The jobs that a job waits for, and those that wait for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.job import Job
from worker.app.queries import Queries
from worker.store.dependencies import DependencyStore

MAX_RELATIVES: Final = 20
"""Jobs that wait for one, that its page shows."""


@dataclass(frozen=True, slots=True)
class Relatives:
    """What a job waits for, and what waits for it."""

    parents: Mapping[str, Job | None]
    """By their stored ids; None for one that is not on record."""
    children: Sequence[Job]
    """The first ones that were enqueued to wait for it."""
    child_count: int


async def relatives_of(job: Job, queries: Queries, dependencies: DependencyStore) -> Relatives:
    """What a job waits for, and the first of those that wait for it."""
    children, count = await dependencies.children(job.id, MAX_RELATIVES)
    found = await queries.shown_jobs([*job.after, *children])
    parents = dict(zip(job.after, found, strict=False))
    below = [one for one in found[len(job.after) :] if one is not None]
    return Relatives(parents, below, max(count, len(below)))
