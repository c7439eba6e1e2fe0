"""What a bulk action does to one job."""

from dataclasses import dataclass

from jobs.job import Job
from jobs.workflows import EnqueueWarning
from worker.store.commit import VersionedJob
from worker.store.side_writes import SideWrites


@dataclass(frozen=True, slots=True)
class BulkDone:
    """The action changed the job; in a dry run it would have."""

    after: Job
    warnings: tuple[EnqueueWarning, ...] = ()
    """About its patched inputs."""


@dataclass(frozen=True, slots=True)
class BulkSkipped:
    """The job stays as it is."""

    why: str


@dataclass(frozen=True, slots=True)
class BulkFailed:
    """The action cannot be done on the job."""

    detail: str


@dataclass(frozen=True, slots=True)
class BulkWrite:
    """What has to be written for the action."""

    before: VersionedJob
    after: Job
    side_writes: SideWrites


BulkJobResult = BulkDone | BulkSkipped | BulkFailed
"""What became of a job that is selected."""
