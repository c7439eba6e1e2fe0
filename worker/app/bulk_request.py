"""What a bulk call asks for, and what it counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, cast

from jobs.holds import Hold
from jobs.job import Job
from jobs.lanes import Lane
from jobs.states import State
from jobs.workflows import MAX_WARNINGS, EnqueueWarning
from worker.app.action_table import ACTION_TABLE, JobAction
from worker.app.actions import Actor
from worker.store.read.filter import Filter
from worker.store.side_writes import NewAuditEntry


class BulkAction(StrEnum):
    """What an operator can do to many jobs."""

    RELEASE = JobAction.RELEASE.value
    REQUEUE = JobAction.REQUEUE.value
    DISCARD = JobAction.DISCARD.value
    CANCEL = JobAction.CANCEL.value
    RESUBMIT = JobAction.RESUBMIT.value


SWEPT_STATES: Final[Mapping[BulkAction, tuple[State, ...]]] = {
    action: ACTION_TABLE[JobAction(action)].states for action in BulkAction
}
"""The states an action applies to, in the order in which their jobs are read."""

SENDING_ACTIONS: Final = (BulkAction.RELEASE, BulkAction.REQUEUE, BulkAction.RESUBMIT)
"""Actions after which jobs are sent, so that they need their inputs."""

MAX_IDS_LISTED: Final = 1_000
"""Jobs done whose ids are kept, as many as a filter by `ids` takes."""

SWEPT_AGAIN: Final = (State.RETRYING, State.QUEUED)
"""Cancel reads these twice: a run may have returned to them meanwhile."""


@dataclass(frozen=True, slots=True)
class JobSelection:
    """Which jobs an action applies to: those that match the filter, of `ids` where given."""

    filter: Filter
    filter_json: str
    """The filter as it was requested, JSON, for the audit."""
    ids: dict[str, None] | None = None
    """A set of job ids, in the order given; None: all jobs."""

    def matches(self, job: Job) -> bool:
        """Whether a job is selected."""
        return (self.ids is None or job.id in self.ids) and self.filter.matches(job)

    def covers_lane(self, hold: Hold, lane: Lane) -> bool:
        """Whether every job that a hold may keep waiting in a lane is selected."""
        wanted = self.filter
        narrow = (
            *(self.ids, wanted.cause, wanted.tag, wanted.batch, wanted.tenant),
            *(wanted.fair_key, wanted.since, wanted.until),
        )
        return (
            all(value is None for value in narrow)
            and wanted.account in (None, lane.account)
            and wanted.kind in (None, lane.kind)
            and wanted.target in (None, lane.target)
            and wanted.code in (None, hold.code)
        )

    @property
    def while_queued(self) -> "JobSelection":
        """The same selection for queued jobs: these have no code, and are not parked."""
        return replace(self, filter=replace(self.filter, state=None, code=None, cause=None))


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """One bulk call."""

    action: BulkAction
    selection: JobSelection
    patch: Mapping[str, Any] | None = field(default=None, repr=False)
    """A JSON merge patch (RFC 7396) for the inputs of jobs that are requeued."""
    dry_run: bool = False
    """Only count what would be done."""
    limit: int | None = None
    """Most jobs to act on, the newest first."""
    lists_ids: bool = False
    """Show the ids of the jobs that a dry run would do, too."""

    def audit_entry(self, now: float, actor: Actor, done: int, changed: str) -> NewAuditEntry:
        """The one audit entry of the call; `changed` is the note on its patch."""
        action, on = f"bulk_{self.action}", self.selection.filter_json
        return NewAuditEntry(now, actor.name, action, on, actor.note, done, changed)


@dataclass(slots=True)
class BulkCounts:
    """What a bulk call did; `matched` is the sum of done, skipped and failed."""

    done: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])
    """Reason → how many jobs were left unchanged."""
    errors: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """The first failures: job id and what is wrong."""
    ids: list[str] = field(default_factory=list[str])
    """The first jobs done."""
    holds_released: int = 0
    deadlines_extended: int = 0
    """Of those done: stuck runs that are polled for another deadline; nothing is sent for them."""
    inputs_lost: int = 0
    """Of those that a dry run would queue: jobs that would only park as `inputs_lost`."""
    est_cost: float | None = 0.0
    """Credits that new runs of the jobs will cost, see `jobs.credits.estimates`. Runs that the
    provider has already are not counted. None where it is unknown of a target."""
    warnings: Counter[EnqueueWarning] = field(default_factory=Counter[EnqueueWarning])
    """What is not as the provider lists it, of patched inputs → in how many jobs done."""

    @property
    def matched(self) -> int:
        """How many jobs were selected in a state that the action applies to."""
        return self.done + self.skipped.total() + self.failed

    def list_ids(self, ids: Sequence[str]) -> None:
        """List jobs that were done, as long as there is room."""
        self.ids += ids[: MAX_IDS_LISTED - len(self.ids)]

    def add_warnings(self, warnings: Sequence[EnqueueWarning]) -> None:
        """Count the warnings about one job, of the first `MAX_WARNINGS` different ones."""
        for one in warnings:
            if one in self.warnings or len(self.warnings) < MAX_WARNINGS:
                self.warnings[one] += 1


def apply_merge_patch(target: object, patch: object) -> Any:
    """Apply a JSON merge patch (RFC 7396); neither argument is changed.

    >>> apply_merge_patch({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
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


def hold_kept_message(hold: Hold, why: str) -> str:
    """Why a hold and the jobs it parked stay as they are."""
    return (
        f"hold {hold.id} on {hold.scope} ({hold.code}) {why}: release the hold instead;"
        " it sends one canary first"
    )
