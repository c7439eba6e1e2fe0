"""Transitions of waiting jobs: they become due, or admission takes them."""

from jobs.job import Job
from jobs.lifecycle import Transition
from jobs.transitions.builders import next_version, queue_changes


def promote(job: Job, now: float) -> Job:
    """`scheduled` or `retrying` → `queued`: it is due."""
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
    """`queued` → `submitting`: the intent to submit, on record before a byte is sent.

    `opening_hold_ids` are the opening holds that count this submit in their step.
    """
    changes = {
        "submit_token": submit_token,
        "lease_until": lease_until,
        "opening_hold_ids": opening_hold_ids,
    }
    return next_version(job, Transition.ADMIT, now, changes=changes)
