"""One batch as it is read: its record, and the counts that follow from its indexes."""

from dataclasses import dataclass
from typing import Final

from jobs.batches import BatchRecord, BatchState, BatchSummary
from jobs.credits.charges import MICRO
from jobs.states import SETTLED, State
from jobs.tenants import app_job_id, tenant_of
from worker.store.codec import DECODE_ERRORS
from worker.store.commit import BATCH_CREDITS, BATCH_PRUNED
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema

RATE_WINDOW_S: Final = 600.0
"""Seconds over which the rate of a batch is measured."""

ANNOUNCED: Final = "announced"
"""Field of a batch's hash: how many of its completions were announced."""

STALLED: Final = "stalled"
"""Field of a batch's hash: how often that was announced of its open jobs, see `Batch.stalls`."""

_batch: Final = RecordSchema(BatchRecord, UNCHANGED)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch at one moment. Times in Unix seconds."""

    address: str
    """Its stored name."""
    record: BatchRecord | None
    """None where nobody created it: jobs name it."""
    last_used: float | None
    """When its last job was enqueued, or it was created; None if unknown."""
    sealed_at: float | None
    cancelled_at: float | None
    completions: int
    """How often all its jobs had settled once it was sealed."""
    announced: int
    """How many of these were announced."""
    stalls: int
    """How often it was announced that all its open jobs wait for an operator, and that they do not
    any more: odd while they do."""
    last_settled_at: float | None
    states: dict[State, int]
    """Jobs in each state, pruned ones included."""
    pruned: int
    """Jobs that are no longer on record."""
    settled_lately: int
    """Jobs that succeeded within `RATE_WINDOW_S`."""
    cost: float
    """Credits that its attempts cost so far."""

    @property
    def tenant(self) -> str:
        """Whose batch it is; empty for no tenant."""
        return tenant_of(self.address)

    @property
    def name(self) -> str:
        """Its name as its app knows it."""
        return app_job_id(self.address)

    @property
    def total(self) -> int:
        """How many jobs joined it."""
        return sum(self.states.values())

    @property
    def open_jobs(self) -> int:
        """How many have not settled."""
        return self.total - self.of(*SETTLED)

    @property
    def state(self) -> BatchState:
        """Whether it takes more jobs, and whether all have settled."""
        if self.sealed_at is None:
            return BatchState.OPEN
        return BatchState.SEALED if self.open_jobs else BatchState.COMPLETE

    @property
    def is_stalled(self) -> bool:
        """Whether it was announced that all its open jobs wait for an operator."""
        return self.stalls % 2 == 1

    def summary(self, at: float) -> BatchSummary | None:
        """What its callbacks report, at a time in Unix seconds; None where it has none."""
        record = self.record
        if record is None or not record.callback_url:
            return None
        return BatchSummary(
            address=self.address,
            at=at,
            state=self.state,
            completions=self.completions,
            total=self.total,
            states={state: count for state, count in self.states.items() if count},
            cost=self.cost,
            created_at=record.created_at,
            sealed_at=self.sealed_at,
            cancelled_at=self.cancelled_at,
            metadata=record.metadata,
            callback_url=record.callback_url,
        )

    def of(self, *states: State) -> int:
        """How many jobs are in any of these states."""
        return sum(self.states.get(state, 0) for state in states)

    def eta_s(self) -> float | None:
        """Seconds until the jobs that wait for nobody have settled, at the rate of late.

        None where nothing succeeded lately.
        """
        ahead = self.open_jobs - self.of(State.PARKED)
        if not ahead:
            return 0.0
        return ahead * RATE_WINDOW_S / self.settled_lately if self.settled_lately else None


def batch_of_fields(
    address: str, last_used: float | None, fields: dict[bytes, bytes], lately: int, *sizes: int
) -> Batch:
    """The batch of a hash's fields.

    `lately`: how many of its jobs succeeded; `sizes`: how many are in each state.
    """
    states = dict(zip(State, sizes, strict=True))
    pruned = 0
    for name, value in fields.items():
        field = name.decode("utf-8", "replace")
        if field.startswith(BATCH_PRUNED) and field.removeprefix(BATCH_PRUNED) in tuple(State):
            count = int(number_in(value) or 0)
            states[State(field.removeprefix(BATCH_PRUNED))] += count
            pruned += count
    return Batch(
        address=address,
        record=_record_of(fields.get(b"rec")),
        last_used=last_used,
        sealed_at=number_in(fields.get(b"sealed_at")),
        cancelled_at=number_in(fields.get(b"cancelled_at")),
        completions=int(number_in(fields.get(b"completions")) or 0),
        announced=int(number_in(fields.get(ANNOUNCED.encode())) or 0),
        stalls=int(number_in(fields.get(STALLED.encode())) or 0),
        last_settled_at=number_in(fields.get(b"last")),
        states=states,
        pruned=pruned,
        settled_lately=lately,
        cost=(number_in(fields.get(BATCH_CREDITS.encode())) or 0.0) / MICRO,
    )


def _record_of(data: bytes | None) -> BatchRecord | None:
    """The record of a batch; None without one, or where this version cannot read it."""
    try:
        return None if data is None else _batch.decode(data)
    except (NewerSchema, *DECODE_ERRORS):
        return None


def number_in(data: bytes | None) -> float | None:
    """The number in a field; None without one."""
    try:
        return None if data is None else float(data)
    except ValueError:
        return None
