"""What can be wrong between a job's record and its index entries, from one atomic read of both.

The record is the truth: where it names one correct entry, the damage has the step that repairs it.
A damage that an operator must decide on has none.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from jobs.indexes import WATCHED_INDEXES, Index, IndexEntry, entries
from jobs.job import Job
from jobs.lanes import Lane
from jobs.states import State
from worker.store.integrity import (
    IntegrityReader,
    KeyTurn,
    Record,
    RecordWithScores,
    RepairOperation,
    RepairStep,
)
from worker.store.keys import Keys

MAX_LEAD_S: Final = 86_400.0
"""A lease or poll further ahead than this, and than its record says, was not set by us: the longest
wait that a provider can ask for is an hour."""

_RENEWED: Final = frozenset({Index.LEASE, Index.INFLIGHT})
"""Their scores change without the record."""

_LEADS_TO_SUBMIT: Final = frozenset(
    {Index.LANE, Index.KEY_QUEUE, Index.BYPASS, Index.BUDGET, Index.DUE}
)
"""A record and its entries are written in one step. A job that is missing here was changed by
something else, as a `RESTORE` of an older record, and would be paid for twice."""

REPAIR_COMMAND: Final = "knouds-worker doctor --repair"


class DamageKind(StrEnum):
    """What is wrong."""

    LOST = "lost"
    """The job is in no watched index: it would never move again."""
    UNLISTED = "unlisted"
    """The job is watched, but missing in a list, a count or a cap."""
    SECOND_INDEX = "second_index"
    """The job is also in a watched index that is not its own."""
    STRAY = "stray"
    """The job is in a list, a count or a cap where it does not belong."""
    ORPHAN = "orphan"
    """An entry points to a job that does not exist."""
    MISPLACED = "misplaced"
    """The entry has a wrong time or a wrong position in the queue."""
    UNREGISTERED = "unregistered"
    """A lane, group or budget has jobs and is not on the register: no service reads it."""
    BAD_NAME = "bad_name"
    """A register has an invalid name."""
    UNREADABLE = "unreadable"
    """A record cannot be read."""
    NEWER = "newer"
    """A newer version wrote a record, so this one can neither check nor repair it."""
    WRONG_TYPE = "wrong_type"
    """One of our keys has another type."""
    COUNTS = "counts"
    """Sizes that must agree differ."""


class Suspicion(NamedTuple):
    """A job and an index that differed when they were read."""

    job_id: str
    kind: Index
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong, and the step that repairs it, where the record names one correct entry."""

    kind: DamageKind
    key: str
    job_id: str
    text: str
    fix: str = REPAIR_COMMAND
    repair: RepairStep | None = None
    parks: bool = False
    """The repair parks the job: what its record says may be older than a run that it has."""


class DamageDetector:
    """Finds damages in what was read at one moment.

    `lease_s`: how long a repaired lease waits for its owner. `max_lead_s`: see `MAX_LEAD_S`.
    """

    def __init__(
        self, keys: Keys, now: float, lease_s: float, max_lead_s: float = MAX_LEAD_S
    ) -> None:
        self._keys = keys
        self._now = now
        self._lease_s = lease_s
        self._max_score = now + max(max_lead_s, 2 * lease_s)

    def detect(self, suspicion: Suspicion, snapshot: RecordWithScores) -> Damage | None:
        """The damage that a snapshot confirms, or None."""
        key, record = suspicion.key, snapshot.record
        if key not in snapshot.scores or record.unreadable_reason:
            return None  # reported as a wrong type, or as an unreadable record
        score = snapshot.scores[key]
        if record.job is None:
            return None if score is None else self._orphan(suspicion)
        entry = next((e for e in entries(record.job) if self._keys.entry(e) == key), None)
        if entry is None:
            return None if score is None else self._stray(suspicion, record.job, record.rev)
        if score is None:
            return self._missing(suspicion, entry, record.job, record.rev)
        if self.is_wrong_score(entry, score):
            return self._misplaced(suspicion, entry, score, record.rev)
        return None

    def is_wrong_score(self, entry: IndexEntry, score: float) -> bool:
        """Whether an entry's score is one that it cannot have."""
        if entry.kind in _RENEWED:
            return score > max(entry.score, self._max_score)
        return entry.kind is not Index.BATCH_SETTLED and score != entry.score

    def _orphan(self, suspicion: Suspicion) -> Damage:
        job_id, key = suspicion.job_id, suspicion.key
        step = RepairStep(self._keys.job(job_id), "", (("R", key, 0.0, job_id),))
        return Damage(
            DamageKind.ORPHAN,
            key,
            job_id,
            f"in {_index_label(suspicion)}, but has no record",
            repair=step,
        )

    def _stray(self, suspicion: Suspicion, job: Job, rev: str) -> Damage:
        step = RepairStep(self._keys.job(job.id), rev, (("R", suspicion.key, 0.0, job.id),))
        kind = DamageKind.SECOND_INDEX if suspicion.kind in WATCHED_INDEXES else DamageKind.STRAY
        text = f"is {job.state}, and does not belong in {_index_label(suspicion)}"
        return Damage(kind, suspicion.key, job.id, text, repair=step)

    def _missing(self, suspicion: Suspicion, entry: IndexEntry, job: Job, rev: str) -> Damage:
        index = _index_label(suspicion)
        is_review_list = job.state in (State.PARKED, State.DEAD) and entry.kind is Index.STATE
        is_lost = entry.kind in WATCHED_INDEXES or is_review_list
        kind = DamageKind.LOST if is_lost else DamageKind.UNLISTED
        text = f"is {job.state}, but not in {index}" + (", where it is watched" if is_lost else "")
        operations: list[RepairOperation] = [("N", suspicion.key, self._score(entry), job.id)]
        if (register := self._keys.register(entry.kind)) is not None:
            operations.append(("N", register, self._now, entry.name))
        step = RepairStep(self._keys.job(job.id), rev, tuple(operations))
        parks = entry.kind in _LEADS_TO_SUBMIT
        return Damage(kind, suspicion.key, job.id, text, repair=step, parks=parks)

    def _misplaced(self, suspicion: Suspicion, entry: IndexEntry, score: float, rev: str) -> Damage:
        job_id = suspicion.job_id
        correct = self._score(entry)
        step = RepairStep(self._keys.job(job_id), rev, (("A", suspicion.key, correct, job_id),))
        text = f"in {_index_label(suspicion)} at {score!r} instead of {correct!r}"
        return Damage(DamageKind.MISPLACED, suspicion.key, job_id, text, repair=step)

    def _score(self, entry: IndexEntry) -> float:
        """The score of a repaired entry: a lease leaves its worker time for a heartbeat."""
        if entry.kind is Index.LEASE:
            return max(entry.score, self._now + self._lease_s)
        if entry.kind is Index.BATCH_SETTLED:
            return max(entry.score, self._now)
        return entry.score


def unreadable(keys: Keys, record: Record) -> Damage:
    """A record that this version cannot read: its entries are unknown, so nothing is repaired."""
    job_id, why = record.job_id, record.unreadable_reason
    if record.is_newer:
        fix = "run doctor of that version, or update this one"
        return Damage(DamageKind.NEWER, keys.job(job_id), job_id, f"its record was {why}", fix)
    fix = f"read `HGETALL {keys.job(job_id)}`: restore the record from a backup, or "
    if record.is_malformed:
        fix += f"make a dead letter of it: `knouds-worker jobs get {job_id}`"
    else:
        fix += f"rename the key, look for the run at the provider, then {REPAIR_COMMAND}"
    return Damage(
        DamageKind.UNREADABLE, keys.job(job_id), job_id, f"its record is unreadable: {why}", fix
    )


def wrong_type(key: str, found: str, wanted: str) -> Damage:
    """A key of another type: it is not ours to delete."""
    fix = f"find out which program wrote it; `RENAME` it, then {REPAIR_COMMAND}"
    text = f"{key} is a {found}, not a {wanted}"
    return Damage(DamageKind.WRONG_TYPE, key, "", text, fix)


def unregistered(keys: Keys, index: Index, name: str, now: float) -> Damage:
    """A lane, group or budget with jobs that is not on its register."""
    members = keys.index(index, name)
    step = RepairStep(members, "*", (("N", keys.register(index) or "", now, name),))
    text = f"the {index} {name} has jobs, but is not on the register"
    return Damage(DamageKind.UNREGISTERED, members, "", text, repair=step)


def wrong_turn(
    reader: IntegrityReader, turns: str, lane: str, found: KeyTurn, now: float
) -> Damage:
    """A fair key that is not among the turns of its lane, or has one that it should not have."""
    queue, active = reader.key_sets(lane, found.name)
    what = f"fair key {found.name}" if found.name else "the jobs without a fair key"
    if found.score is None:
        step = RepairStep(queue, "*", (("N", turns, now, found.name),))
        text = f"{what} of lane {lane} must have a turn, and has none"
        return Damage(DamageKind.UNREGISTERED, turns, "", text, repair=step)
    if not found.waits:
        step = RepairStep(queue, "", (("R", turns, 0.0, found.name),))
        text = f"{what} of lane {lane} has a turn, and no jobs that wait"
        return Damage(DamageKind.STRAY, turns, "", text, repair=step)
    step = RepairStep(active, "", (("A", turns, now, found.name),))
    text = f"{what} of lane {lane} waits for the end of a run, and has none"
    return Damage(DamageKind.MISPLACED, turns, "", text, repair=step)


def bad_name(keys: Keys, index: Index, name: str) -> Damage:
    """An invalid name on a register, without jobs."""
    register = keys.register(index) or ""
    step = RepairStep(keys.index(index, name), "", (("R", register, 0.0, name),))
    return Damage(DamageKind.BAD_NAME, register, "", f"{name!r} is no {index}", repair=step)


def count_mismatch(text: str) -> Damage:
    """Sizes that differ."""
    fix = "fix the other findings; if there are none, run doctor again and report this"
    return Damage(DamageKind.COUNTS, "", "", text, fix)


def is_valid_name(index: Index, name: str) -> bool:
    """Whether a lane or group can have this name: `a/k/t`, `state|code|a/k/t`; a budget has any."""
    if index is Index.BUDGET:
        return True
    try:
        if index is Index.GROUP:
            state, _, rest = name.partition("|")
            _, bar, name = rest.rpartition("|")
            if not bar or State(state) not in (State.PARKED, State.DEAD):
                return False
        Lane.parse(name)
    except ValueError:
        return False
    return True


def _index_label(suspicion: Suspicion) -> str:
    return f"{suspicion.kind}:{suspicion.name}" if suspicion.name else str(suspicion.kind)
