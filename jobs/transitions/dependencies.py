"""Transitions of a job that waits until others have succeeded."""

from typing import Any

import msgspec

from jobs.error_table import ACTION_PARENT, ACTION_PARENT_RESULT
from jobs.job import PARENT, PARENT_RESULT, Job, Reason
from jobs.lifecycle import Transition
from jobs.transitions.builders import next_version, queue_changes


def promote_child(job: Job, now: float) -> Job:
    """`waiting` → `queued`: its parents have succeeded, and its inputs are complete."""
    changes: dict[str, Any] = queue_changes(job, now) | {"queued_at": now}
    return next_version(
        job, Transition.PROMOTE, now, **changes, parents_check_at=None, takes_results=False
    )


def park_for_parent(job: Job, now: float, message: str) -> Job:
    """`waiting` → `parked`: one of its parents never succeeds."""
    return _park(job, now, Reason(code=PARENT, message=message, action=ACTION_PARENT))


def park_for_result(job: Job, now: float, message: str) -> Job:
    """`waiting` → `parked`: a result lacks what the inputs take from it."""
    reason = Reason(code=PARENT_RESULT, message=message, action=ACTION_PARENT_RESULT)
    return _park(job, now, reason)


def check_parents_later(job: Job, now: float, at: float) -> Job:
    """The same job, whose parents are looked at again at a time, Unix seconds."""
    return msgspec.structs.replace(job, updated_at=now, parents_check_at=at)


def _park(job: Job, now: float, reason: Reason) -> Job:
    return next_version(
        job,
        Transition.PARK_FOR_PARENT,
        now,
        note=reason.code,
        reason=reason,
        parents_check_at=None,
    )
