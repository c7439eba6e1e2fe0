"""Moves of those in line: their time has come, or admission takes them."""

from jobs.job import Job
from jobs.lifecycle import Transition
from jobs.transitions.builders import next_version, queue_changes


def promote(job: Job, now: float) -> Job:
    """`scheduled` or `retrying` → `queued`: its time has come."""
    return next_version(
        job, Transition.PROMOTE, now, changes=queue_changes(job, now) | {"queued_at": now}
    )


def admit(
    job: Job,
    now: float,
    *,
    submit_token: str,
    lease_until: float,
    opening_hold_ids: tuple[str, ...],
) -> Job:
    """`queued` → `submitting`: the intent, on record before a byte is sent."""
    changes = {
        "submit_token": submit_token,
        "lease_until": lease_until,
        "opening_hold_ids": opening_hold_ids,
    }
    return next_version(job, Transition.ADMIT, now, changes=changes)
