"""Batches: jobs that one name holds together, and when they are complete."""

from enum import StrEnum
from typing import Final

import msgspec

from jobs.job import Job
from jobs.states import State
from jobs.tenants import tenant_job_id, tenant_of

BATCH_SCHEMA: Final = 1
"""The schema of a stored `BatchRecord`. A change of its fields is a new one."""


class BatchRecord(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag=BATCH_SCHEMA,
    forbid_unknown_fields=True,
):
    """What was said of a batch when it was created. Jobs may also name one that nobody created."""

    name: str
    """As its app knows it."""
    created_at: float
    """Unix seconds."""
    created_by: str = ""
    """The name of the token."""
    metadata: str = ""
    """A JSON object as text; empty for none."""
    note: str = ""
    callback_url: str = ""
    """Where its app hears that it is complete or stalled; empty for nowhere."""


class BatchState(StrEnum):
    """Whether a batch takes more jobs, and whether all of them have settled."""

    OPEN = "open"
    """More jobs may join it."""
    SEALED = "sealed"
    """No more jobs join it, and some have not settled."""
    COMPLETE = "complete"
    """No more jobs join it, and all of them have settled. A requeue reopens it."""


class BatchSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch at one moment, as its callbacks report it. Times in Unix seconds."""

    address: str
    at: float
    state: BatchState
    completions: int
    total: int
    states: dict[State, int]
    cost: float
    """Credits."""
    created_at: float
    sealed_at: float | None = None
    cancelled_at: float | None = None
    metadata: str = ""
    callback_url: str = ""


class BatchSealed(Exception):
    """No more jobs may join a batch."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"batch {name!r} is sealed: no more jobs may join it, so use another batch, or none"
        )


class BatchEvent(StrEnum):
    """What is announced of a batch."""

    CREATED = "created"
    SEALED = "sealed"
    CANCELLED = "cancelled"
    """An operator cancelled it: no more jobs join it."""
    STALLED = "stalled"
    """Every job of it that has not settled is parked."""
    COMPLETED = "completed"


def batch_address(tenant: str, name: str) -> str:
    """The name of a batch as it is stored: two tenants may use one name for two batches.

    >>> batch_address("studio", "nightly"), batch_address("", "nightly")
    ('studio~nightly', 'nightly')
    """
    return tenant_job_id(tenant, name)


def batch_of(job: Job) -> str | None:
    """The stored name of the batch of a job; None if it belongs to none."""
    return None if job.batch is None else batch_address(tenant_of(job.id), job.batch)
