"""Moves of those in line: their time has come, or admission takes them."""

from jobs.job import Job
from jobs.lifecycle import Move
from jobs.transitions.builders import moved, queued


def come_due(job: Job, now: float) -> Job:
    """`scheduled` or `retrying` → `queued`: its time has come."""
    return moved(job, Move.COME_DUE, now, changes=queued(job, now) | {"queued_at": now})


def admit(job: Job, now: float, *, hop: str, lease_until: float, gates: tuple[str, ...]) -> Job:
    """`queued` → `submitting`: the intent, on record before a byte is sent."""
    changes = {"hop": hop, "lease_until": lease_until, "gates": gates}
    return moved(job, Move.ADMIT, now, changes=changes)
