"""Turns two versions of a job into the keys and arguments of `commit.lua`."""

import secrets
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

import msgspec

from jobs.batches import batch_of
from jobs.budgets.periods import TOTAL_KEY
from jobs.budgets.use import BudgetPart, UsedPart, changed_use
from jobs.credits.charges import (
    KEPT_S,
    MAX_NAMES,
    Dimension,
    Measure,
    changed_sums,
    fallback_of,
)
from jobs.indexes import Index, changed_entries, entries
from jobs.job import Job
from jobs.states import SETTLED, SETTLED_OR_PARKED, State
from worker.store.audit_chain import NO_CHAIN, AuditChain
from worker.store.client import Argument, CommitOperation, Durability
from worker.store.codec import encode
from worker.store.fair_turns import turn_operations
from worker.store.keys import Keys
from worker.store.side_writes import ArqWakeup, NewAuditEntry, SideWrites

REV_TOKEN_BYTES: Final = 6
"""Each revision has a token of its own. A token of the process with a number would be the same in
processes that were forked after the import, and of two commits that expect one revision both would
be taken for the one that was written."""

RUN_OWNER_MEMORY_S: Final = 86_400
"""How long it is known whose run an execution is, also after it has ended."""

ERASED_AT: Final = "erased"
"""Field of a job's hash: when its payloads were erased, Unix seconds."""

PAYLOAD_FIELDS: Final = ("inputs", "result", "metadata", "unreadable")
"""Fields of a job's hash that hold payloads, or may."""

FAR_FUTURE: Final = 2**53
"""Unix seconds, the end of a time that has none."""

NO_LIMIT: Final = "1e300"
"""Of a check that is for the time alone."""

NEVER_TOO_MANY: Final = 2**31
"""Fields that a hash may have, where their names are bounded elsewhere."""

CHILDREN: Final = "children"
"""Field of a job's hash: there if others were enqueued to wait for it."""

BATCH_CREDITS: Final = "credits"
"""Field of a batch's hash: what its attempts cost, in millionths of a credit."""

BATCH_SEALED: Final = "sealed"
"""Field of a batch's hash: 1 if no more jobs may join it."""

BATCH_PRUNED: Final = "pruned:"
"""With a state behind it, a field of a batch's hash: its jobs that were pruned in that state."""

MAX_EVENT_ENTRIES: Final = 2_000
"""About how many entries the event stream keeps; one has the transitions of one call, up to 128."""


class TransitionEvent(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"before": "from", "after": "to"}
):
    """A change of a job's state, as the event stream stores it."""

    id: str
    lane: str
    before: State | None
    """None: the job is new."""
    after: State
    at: float
    """Unix seconds."""
    code: str | None = None
    """The code of its reason, if it has one."""
    has_metadata: bool = False
    """Of a job that settled or parked: it has metadata."""


class VersionedJob(msgspec.Struct, frozen=True, gc=False):
    """A job as it was read, with the revision that a write must still find."""

    job: Job
    rev: str
    durability: Durability | None = None
    """Of the write that made it; None if it did not wait for replicas."""


class RestoreResult(Enum):
    """What became of a write of a version that Redis lost."""

    RESTORED = auto()
    SUPERSEDED = auto()
    """Another writer changed the job meanwhile."""
    OTHER_RUN = auto()
    """The record has a submit or the id of a run that the version lacks, so it stays."""


class Change:
    """One change of `commit.lua`: a job's next version, and the operations that go with it."""

    __slots__ = (
        "_expected",
        "_names",
        "audit_entry",
        "audit_hash",
        "awaits_replicas",
        "durability",
        "fields",
        "key",
        "ops",
        "record",
        "rev",
    )

    def __init__(self, keys: Keys, job_id: str, expected_rev: str | bytes) -> None:
        self._names = keys
        self._expected = expected_rev
        self.key = keys.job(job_id) if job_id else ""
        """The job's hash; empty if the change has operations only."""
        self.rev = ""
        self.record = b""
        self.fields: list[Argument] = []
        self.ops: list[CommitOperation] = []
        self.audit_entry: NewAuditEntry | None = None
        self.audit_hash = ""
        """The hash of the entry, once it is assembled."""
        self.awaits_replicas = False
        self.durability: Durability | None = None
        """Set when it is written, if it had to wait for replicas."""

    @property
    def expected(self) -> str | bytes:
        """The revision the job must still have; empty when it must not exist."""
        return self._expected

    @property
    def size(self) -> int:
        """About how many bytes are written."""
        return len(self.record) + sum(len(f) for f in self.fields if isinstance(f, bytes))

    def write(
        self,
        old: Job | None,
        new: Job,
        side_writes: SideWrites,
        *,
        restored_rev: str | None = None,
    ) -> "Change":
        """Write `new` over `old`, and each index entry that differs between them.

        The number of the new revision is one more than the expected one's, or than
        `restored_rev` if that is larger. A run that is new to the record must be no other job's,
        except for one that is restored (`restored_rev`, its revision), whose job had it before.
        """
        version = 1 + max(version_of(self._expected), version_of(restored_rev or ""))
        self.rev = f"{version}.{secrets.token_hex(REV_TOKEN_BYTES)}"
        self.record = encode(new)
        self.awaits_replicas = side_writes.awaits_replicas
        for name in PAYLOAD_FIELDS:
            if (value := getattr(side_writes, name)) is not None:
                self.fields += [name, value]
        self._check_and_claim(old, new, side_writes, is_restored=restored_rev is not None)
        if (tick := side_writes.tick) is not None:
            name, passed = tick.schedule, tick.tick - tick.highest
            self.ops.append(
                ("H", self._names.schedule_ticks, name, name, NEVER_TOO_MANY, passed, 0)
            )
        if side_writes.erased_at is not None:
            self.fields += [ERASED_AT, side_writes.erased_at]
            self.ops += [("D", self.key, name) for name in PAYLOAD_FIELDS]
        self._move_entries(old, new)
        if new.fair_key is not None or side_writes.fair_turn is not None:
            self.ops += turn_operations(self._names, old, new, side_writes.fair_turn)
        self._add_charges(old, new)
        self._note_batch(old, new)
        self._note_parent(old, new)
        if new.state is State.QUEUED:
            self.ops.append(("P", self._names.wake, str(new.lane)))
        elif new.state in SETTLED_OR_PARKED:
            self.ops.append(("P", self._names.settled, new.id))
        if old is None or old.state is not new.state:
            self.ops.append(
                ("E", self._names.events, MAX_EVENT_ENTRIES, encode(_transition_event(old, new)))
            )
        return self

    def _check_and_claim(
        self, old: Job | None, new: Job, side_writes: SideWrites, *, is_restored: bool
    ) -> None:
        """The preconditions, then the audit entry, then whose run a new execution is."""
        for limit in side_writes.limits:
            self.ops.append(("C", self._names.index(limit.kind, limit.name), limit.max_members))
        for check in side_writes.epochs:
            self.ops.append(("B", self._names.breakers, check.key, check.epoch))
        self._check_versions(side_writes)
        for budget in side_writes.budgets:
            key = self._names.budget_use(budget.budget, budget.generation, budget.period)
            self.ops.append(
                ("M", key, budget.limit, max(1, budget.amount), budget.start, budget.end)
            )
        if side_writes.data_epoch is not None:
            self.ops.append(("V", self._names.recovery, side_writes.data_epoch))
        claimed = new.execution_id if old and old.execution_id != new.execution_id else None
        if claimed is not None and not is_restored:
            self._check_run(new.id, claimed)
        if side_writes.audit_entry is not None:
            self.audit(side_writes.audit_entry)
        if claimed is not None:
            owner = self._names.run_owner(claimed)
            self.ops.append(("S", owner, new.id, RUN_OWNER_MEMORY_S * 1_000))

    def _check_versions(self, side_writes: SideWrites) -> None:
        """Let no job pass by old budgets, nor join a sealed batch; and a tick make one job."""
        if side_writes.joins_batch is not None:
            batch = self._names.batch_record(side_writes.joins_batch)
            self.ops.append(("B", batch, BATCH_SEALED, 0))
        for parent in side_writes.parents:
            self.ops.append(("B", self._names.job(parent.job_id), "rev", parent.version))
        if side_writes.budgets_version is not None:
            self.ops.append(("B", self._names.budgets, "", side_writes.budgets_version))
        tick, ticks = side_writes.tick, self._names.schedule_ticks
        if tick is None:
            return
        self.ops.append(("B", self._names.schedules, tick.schedule, tick.revision))
        self.ops.append(("B", ticks, tick.schedule, tick.highest))
        self.ops.append(("M", ticks, NO_LIMIT, 0, tick.tick, FAR_FUTURE))

    def _check_run(self, job_id: str, execution_id: str) -> None:
        """Let a run belong to one job. The index knows it while it is under way, however long."""
        self.ops.append(("X", self._names.run_owner(execution_id), job_id))
        self.ops.append(("O", self._names.index(Index.EXECUTION, execution_id), job_id))

    def delete(self, old: Job) -> "Change":
        """Delete a job and every entry it has, unless others wait for it."""
        self.ops.append(("K", self._names.index(Index.WAITING_CHILDREN, old.id)))
        for kind, name, _ in entries(old):
            self._remove_entry(kind, name, old.id)
        self.ops += turn_operations(self._names, old, None)
        if (batch := batch_of(old)) is not None:
            self._add_to_batch(batch, f"{BATCH_PRUNED}{old.state}", 1)
        return self

    def audit(self, entry: NewAuditEntry) -> "Change":
        """Append an audit entry; the chain that it belongs to is known when it is assembled."""
        self.audit_entry = entry
        self.ops.append(("L", self._names.audit))
        return self

    def chained(self, chain: AuditChain, prev: str) -> list[CommitOperation]:
        """The operations, with the audit entry behind the one with the hash `prev`."""
        if self.audit_entry is None:
            return self.ops
        values = self.audit_entry.values()
        self.audit_hash = chain.hash_of(prev, values)
        more = (prev, *values, self.audit_hash)
        return [(op[0], op[1], *more) if op[0] == "L" else op for op in self.ops]

    def wake(self, entry: ArqWakeup) -> "Change":
        """Write an arq entry."""
        key = self._names.arq_job(entry.arq_id)
        self.ops.append(("S", key, entry.payload, entry.ttl_ms))
        self.ops.append(("A", self._names.arq_queue, entry.score_ms, entry.arq_id))
        return self

    def _move_entries(self, old: Job | None, new: Job) -> None:
        old_entries, new_entries = ((), entries(new)) if old is None else changed_entries(old, new)
        before = {(e.kind, e.name): e.score for e in old_entries}
        for kind, name, at in new_entries:
            score = before.pop((kind, name), None)
            if score == at:
                continue
            if kind is Index.BATCH_SETTLED:
                self._settle_in_batch(name, old, new)
                continue
            self.ops.append(("A", self._names.index(kind, name), at, new.id))
            if score is None:
                self._register(kind, name, new)
        for kind, name in before:
            self._remove_entry(kind, name, new.id)

    def _add_charges(self, old: Job | None, new: Job) -> None:
        """Add what the attempts cost to the ledger and to budgets, as far as it has changed."""
        for found, amount in changed_sums(old, new).items():
            day, dimension, name, measure = found
            if dimension is Dimension.BATCH and measure is Measure.CREDITS:
                self._add_to_batch(name, BATCH_CREDITS, amount)
            key = self._names.ledger(day, dimension, measure)
            fallback = fallback_of(dimension, name)
            self.ops.append(("H", key, name, fallback, MAX_NAMES[dimension], amount, KEPT_S))

        for used, amount in changed_use(old, new).items():
            self._add_use(used, amount)

    def _note_batch(self, old: Job | None, new: Job) -> None:
        """Have the batch of a job looked at that has settled, or is parked."""
        is_new = old is None or old.state is not new.state
        if is_new and new.state in SETTLED_OR_PARKED and (batch := batch_of(new)) is not None:
            self.ops.append(("A", self._names.batch_changes, new.updated_at, batch))

    def _note_parent(self, old: Job | None, new: Job) -> None:
        """Mark the jobs that a new one waits for; have the children of a settled one looked at."""
        for parent in new.after if old is None else ():
            self.ops.append(("F", self._names.job(parent), CHILDREN, 1))
        if new.state in SETTLED and (old is None or old.state is not new.state):
            key, at = self._names.settled_parents, new.updated_at
            self.ops.append(("W", key, at, new.id, self._names.wake))

    def _settle_in_batch(self, batch: str, old: Job | None, new: Job) -> None:
        """Put a job behind those of its batch that settled before; perhaps it is the last one.

        One that was settled before cannot complete the batch: it names a set that is not empty.
        """
        settled = self._names.index(Index.BATCH_SETTLED, batch)
        was_settled = old is not None and old.state in SETTLED
        open_jobs = settled if was_settled else self._names.index(Index.BATCH_OPEN, batch)
        self.ops.append(("Z", self._names.batch_record(batch), open_jobs, settled, new.id))

    def _add_to_batch(self, batch: str, field: str, amount: int) -> None:
        record = self._names.batch_record(batch)
        self.ops.append(("H", record, field, field, NEVER_TOO_MANY, amount, 0))

    def _add_use(self, used: UsedPart, amount: int) -> None:
        """Add to what one period of a budget has spent or reserved."""
        key = self._names.budget_use(used.budget, used.generation, used.period)
        kept_s = 0 if used.period == TOTAL_KEY else KEPT_S
        self.ops.append(("H", key, used.part, used.part, len(BudgetPart), amount, kept_s))

    def _remove_entry(self, kind: Index, name: str, job_id: str) -> None:
        self.ops.append(("R", self._names.index(kind, name), job_id))
        if kind is Index.INFLIGHT:
            self.ops.append(("D", self._names.polls, job_id))

    def _register(self, kind: Index, name: str, new: Job) -> None:
        if (register := self._names.register(kind)) is not None:
            self.ops.append(("N", register, new.updated_at, name))
        elif kind is Index.BATCH:
            self.ops.append(("A", self._names.batches, new.created_at, name))


def assemble(
    changes: Sequence[Change], chain: AuditChain = NO_CHAIN
) -> tuple[list[str], list[Argument]]:
    """Keys and arguments of one call of `commit.lua`, in the order of its head comment."""
    prev = chain.head
    numbers: dict[str, int] = {}
    args: list[Argument] = []
    for change in changes:
        number = numbers.setdefault(change.key, len(numbers) + 1) if change.key else 0
        args += [number, change.expected, change.rev, change.record, len(change.fields) // 2]
        args += change.fields
        ops = change.chained(chain, prev)
        prev = change.audit_hash or prev
        args.append(sum(map(len, ops)))
        for letter, key, *rest in ops:
            if letter in {"Z", "T"}:
                rest[:2] = [numbers.setdefault(str(name), len(numbers) + 1) for name in rest[:2]]
            args += [letter, numbers.setdefault(key, len(numbers) + 1), *rest]
    return list(numbers), args


def _transition_event(old: Job | None, new: Job) -> TransitionEvent:
    code = new.reason.code if new.reason is not None else None
    before = old.state if old is not None else None
    has_metadata = new.has_metadata and new.state in SETTLED_OR_PARKED
    return TransitionEvent(
        new.id, str(new.lane), before, new.state, new.updated_at, code, has_metadata
    )


def version_of(rev: str | bytes) -> int:
    """The number of versions in a revision; 0 if it is malformed."""
    text = rev if isinstance(rev, str) else rev.decode("ascii", "replace")
    count = text.partition(".")[0]
    return int(count) if count.isdecimal() else 0
