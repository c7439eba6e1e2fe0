"""What a bulk call asks for, and what it counts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, cast

from jobs.holds import Hold
from jobs.job import Job
from jobs.lanes import Lane
from jobs.states import State
from worker.app.action_table import ACTION_TABLE, JobAction
from worker.store.read.queries import Filter


class BulkAction(StrEnum):
    """What an operator can do to many jobs."""

    RELEASE = JobAction.RELEASE.value
    REQUEUE = JobAction.REQUEUE.value
    DISCARD = JobAction.DISCARD.value
    CANCEL = JobAction.CANCEL.value


SWEPT_STATES: Final[Mapping[BulkAction, tuple[State, ...]]] = {
    action: ACTION_TABLE[JobAction(action)].states for action in BulkAction
}
"""The states an action applies to, in the order in which jobs are read."""

SWEPT_AGAIN: Final = (State.RETRYING, State.QUEUED)
"""Cancel reads these twice: a run may have returned to them meanwhile."""


@dataclass(frozen=True, slots=True)
class JobSelection:
    """Which jobs are meant: those the filter admits, of those named where `ids` names some."""

    filter: Filter
    filter_json: str
    """The filter as it was asked for, JSON, for the record."""
    ids: dict[str, None] | None = None
    """In the order given."""

    def matches(self, job: Job) -> bool:
        """Whether a job is meant, whatever the act."""
        return (self.ids is None or job.id in self.ids) and self.filter.matches(job)

    def covers_lane(self, hold: Hold, lane: Lane) -> bool:
        """Whether every job a hold could keep waiting in a lane is meant, whichever it is."""
        asked = self.filter
        narrow = (self.ids, asked.tag, asked.batch, asked.since, asked.until)
        return (
            all(value is None for value in narrow)
            and asked.account in (None, lane.account)
            and asked.kind in (None, lane.kind)
            and asked.target in (None, lane.target)
            and asked.code in (None, hold.code)
        )

    @property
    def while_queued(self) -> "JobSelection":
        """The same jobs while they are queued: neither parked, nor with a code."""
        return replace(self, filter=replace(self.filter, state=None, code=None))


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """What is to be done."""

    action: BulkAction
    selection: JobSelection
    patch: Mapping[str, Any] | None = field(default=None, repr=False)
    """A JSON merge patch (RFC 7396) for the inputs of jobs that are requeued."""
    dry_run: bool = False
    """Count as if, and change nothing."""
    limit: int | None = None
    """Most jobs to act on, the newest first."""


@dataclass(slots=True)
class BulkCounts:
    """What became of the jobs. `matched` is the sum of the other three."""

    done: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])
    """Why → how many were left as they are."""
    errors: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """The first failures: job id, and what is wrong."""
    holds_released: int = 0
    est_cost: float | None = 0.0
    """Credits the runs of the jobs acted on cost, by the last run of each target; runs that the
    provider has already are not counted. None where a target has not run."""

    @property
    def matched(self) -> int:
        """How many jobs the filter found in a state that fits the act."""
        return self.done + self.skipped.total() + self.failed


def apply_merge_patch(target: object, patch: object) -> Any:
    """Apply a JSON merge patch (RFC 7396); neither argument is changed.

    >>> merge({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(cast("Mapping[str, Any]", target)) if isinstance(target, Mapping) else {}
    for name, value in cast("Mapping[str, Any]", patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = apply_merge_patch(merged.get(name), value)
    return merged
