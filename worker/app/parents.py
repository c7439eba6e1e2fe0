"""The jobs that a new one is to wait for: they must be on record, and may have results to take."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final

from jobs.dependencies.parents import CHECK_INTERVAL_S, ParentsState, assess_parents
from jobs.dependencies.references import references_in
from jobs.job import Job
from jobs.requests import JobRequest
from jobs.states import State
from jobs.tenants import tenant_job_id
from jobs.why import Blocker, parent_blockers
from worker.store.commit import VersionedJob, version_of
from worker.store.jobs import JobStore, NewerRecord, UnreadableRecord
from worker.store.preconditions import ParentCheck
from worker.store.side_writes import SideWrites


@dataclass(frozen=True, slots=True)
class Parents:
    """What is known of the jobs that a request names, at one moment."""

    checks: tuple[ParentCheck, ...] = ()
    are_decided: bool = False
    """Whether what they are lets the new job be moved on at once: all succeeded, or one never
    does."""

    def check_at(self, now: float) -> float:
        """When the new job is looked at first, Unix seconds."""
        return now if self.are_decided else now + CHECK_INTERVAL_S

    def side_writes(self, request: JobRequest) -> SideWrites:
        """What is written with the new job."""
        return SideWrites(request.inputs, metadata=request.metadata, parents=self.checks)


NO_PARENTS: Final = Parents()

MAX_SHOWN_IDS: Final = 4
"""Jobs of a circle that an error names."""


class BadParent(ValueError):
    """Why a job cannot wait for one that its request names."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


async def load_parents(
    jobs: JobStore, request: JobRequest, *, tenant: str, by: str, sees_results: bool
) -> Parents:
    """Read the jobs that a request names; raises `BadParent` where it cannot wait for them.

    `by` is the token that asks, `sees_results` whether it may see results of jobs that it did not
    enqueue.
    """
    if not request.after:
        return NO_PARENTS
    ids = [tenant_job_id(tenant, one) for one in request.after]
    found: dict[str, VersionedJob] = {}
    for number, (given, record) in enumerate(
        zip(request.after, await jobs.read_many(ids), strict=True)
    ):
        if record is None:
            raise BadParent(
                f"after[{number}]", f"names no job: enqueue {given!r} first, or omit it"
            )
        if isinstance(record, (NewerRecord, UnreadableRecord)):
            raise BadParent(
                f"after[{number}]", f"names a job that this version cannot read: {given!r}"
            )
        found[given] = record
    if not sees_results:
        _refuse_results_of_others(request, {given: one.job for given, one in found.items()}, by)
    states: dict[str, State | None] = {one.job.id: one.job.state for one in found.values()}
    finding = assess_parents([one.job.id for one in found.values()], states)
    checks = tuple(ParentCheck(one.job.id, version_of(one.rev)) for one in found.values())
    return Parents(checks, are_decided=finding.state is not ParentsState.OPEN)


def _refuse_results_of_others(request: JobRequest, parents: dict[str, Job], by: str) -> None:
    """Let a token that sees no results take those of its own jobs only."""
    for reference in references_in(request.inputs):
        if parents[reference.job_id].enqueued_by != by:
            raise BadParent(
                reference.path,
                f"takes from the result of job {reference.job_id!r}, which another token enqueued:"
                " that needs a token of role read, or with `own`",
            )


async def find_parent_blockers(jobs: JobStore, job: Job, now: float) -> tuple[Blocker, ...]:
    """What a job waits for that is `waiting`; nothing for another one."""
    if job.state is not State.WAITING:
        return ()
    records = await jobs.load_many(job.after)
    states = {
        job_id: None if stored is None else stored.job.state
        for job_id, stored in zip(job.after, records, strict=True)
    }
    return parent_blockers(job, states, now)


class CallOrder:
    """Lets each job of a call be enqueued after those of the same call that it waits for."""

    def __init__(self, requests: Sequence[tuple[str | None, JobRequest]]) -> None:
        graph: dict[str, Sequence[str]] = {}
        for job_id, request in requests:
            if job_id is not None:
                graph.setdefault(job_id, request.after)
        self._circles = find_circles(graph) if any(graph.values()) else {}
        wanted = {parent for after in graph.values() for parent in after}
        self._ended = {job_id: asyncio.Event() for job_id in wanted & graph.keys()}

    async def wait_for_parents(self, job_id: str | None, request: JobRequest) -> None:
        """Return once they have been enqueued, or refused; raises `BadParent` for a circle."""
        if job_id is not None and (circle := self._circles.get(job_id)):
            raise BadParent("after", f"makes a circle, so none of these could ever run: {circle}")
        for parent in request.after:
            if (ended := self._ended.get(parent)) is not None:
                await ended.wait()

    def mark_ended(self, job_id: str | None) -> None:
        """Note that a job has been enqueued, or refused."""
        if job_id is not None and (ended := self._ended.get(job_id)) is not None:
            ended.set()


def find_circles(after_of: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The jobs of a call that wait for each other in a circle: id → the circle, in words.

    `after_of`: the id of each job and those that it names.
    """
    graph, found = dict(after_of), dict[str, str]()
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1]
            text = _shown_circle(list(reversed(circle)))
            found |= dict.fromkeys(circle, text)
            graph = {job_id: after for job_id, after in graph.items() if job_id not in found}
        else:
            return found


def _shown_circle(circle: Sequence[str]) -> str:
    """A circle in words; of a long one the begin and the end, for each of its jobs repeats it."""
    if len(circle) <= MAX_SHOWN_IDS + 1:
        return " → ".join(circle)
    hidden = len(circle) - MAX_SHOWN_IDS - 1
    begin = " → ".join(circle[:MAX_SHOWN_IDS])
    return f"{begin} → ({hidden} more) → {circle[-1]}"
