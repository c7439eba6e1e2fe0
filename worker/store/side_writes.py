"""What a commit writes, and requires, beside the record of a job."""

from dataclasses import dataclass, field
from typing import Final

from jobs.fairness import FairTurn
from worker.store.preconditions import BudgetCheck, EpochCheck, Limit, ParentCheck, TickCheck


@dataclass(frozen=True, slots=True)
class ArqWakeup:
    """An arq entry `<job>:<submit token>`, written in the same step; ids only."""

    arq_id: str
    payload: bytes
    score_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class NewAuditEntry:
    """One action of an operator: who, when, what, on what, with which note, on how many jobs."""

    at: float
    """Unix seconds."""
    by: str
    action: str
    on: str
    """A job, a scope, an address, or the filter of a bulk action as JSON."""
    note: str
    jobs: int
    changed: str = ""
    """What of the inputs was changed, as JSON: paths and a keyed digest; empty if nothing was."""

    def values(self) -> tuple[str, ...]:
        """The values of `CHAINED_FIELDS`."""
        at, jobs = repr(self.at), str(self.jobs)
        return at, self.by, self.action, self.on, self.note, jobs, self.changed


ANY_EPOCH: Final = ""
"""The recovery epoch of a write that needs data that may be relied on, whichever it is."""


@dataclass(frozen=True, slots=True)
class SideWrites:
    """What a commit writes beside the record."""

    inputs: bytes | None = field(default=None, repr=False)
    result: bytes | None = field(default=None, repr=False)
    limits: tuple[Limit, ...] = ()
    epochs: tuple[EpochCheck, ...] = ()
    budgets: tuple[BudgetCheck, ...] = ()
    budgets_version: int | None = None
    """Precondition: no budget was set, changed or removed since this version was read."""
    joins_batch: str | None = None
    """Precondition: this batch takes more jobs; its name as it is stored."""
    unreadable: bytes | None = field(default=None, repr=False)
    """The text of an unreadable record, kept beside the record that replaces it."""
    audit_entry: NewAuditEntry | None = None
    """The operator action that made the change, if one did."""
    parents: tuple[ParentCheck, ...] = ()
    """Precondition of a new job: those that it waits for are as they were read."""
    tick: TickCheck | None = None
    """Precondition of the job of a schedule's tick."""
    fair_turn: FairTurn | None = None
    """The turn that an admission takes, in a lane with fair keys."""
    data_epoch: str | None = None
    """Precondition: the data may be relied on, and is of this epoch, see `jobs.data_recovery`."""
    awaits_replicas: bool = False
    """Whether the write waits until replicas have it, where that is configured."""
    erased_at: float | None = None
    """When the payloads of the job are erased, which this write does; None: they stay."""
    metadata: bytes | None = field(default=None, repr=False)


NO_SIDE_WRITES = SideWrites()
