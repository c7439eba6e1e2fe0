"""From two versions of a job to the keys and arguments of `commit.lua`."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.lanes import Lane
from jobs.places import Index, entries
from jobs.records import Job
from jobs.states import AT_REST, State
from worker.store.client import Argument
from worker.store.codec import encode
from worker.store.keys import Keys


@dataclass(frozen=True, slots=True)
class Stored:
    """A job as it was read, with the revision that a write of it must still find."""

    job: Job
    rev: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Precondition: an index holds fewer than `most` members."""

    kind: Index
    name: str
    most: int


@dataclass(frozen=True, slots=True)
class WakeUp:
    """An arq entry to write in the same step: `<job>:<hop>`, ids only."""

    arq_id: str
    payload: bytes
    score_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Extra:
    """What a change writes beside the record."""

    inputs: bytes | None = field(default=None, repr=False)
    result: bytes | None = field(default=None, repr=False)
    limits: tuple[Limit, ...] = ()
    wake_up: WakeUp | None = None
    unreadable: bytes | None = field(default=None, repr=False)
    """The text of a record that nobody could read, kept beside the one that replaces it."""


NOTHING = Extra()


class Change:
    """Keys and arguments of one `commit.lua` call, built up operation by operation."""

    def __init__(self, keys: Keys, job_id: str, expected_rev: str | bytes) -> None:
        self._names = keys
        self.keys: list[str] = [keys.job(job_id)]
        self._places: dict[str, int] = {self.keys[0]: 1}
        self._expected = expected_rev
        self._ops: list[Argument] = []
        self.rev = ""

    @property
    def args(self) -> list[Argument]:
        """The arguments, in the order of the script's head comment."""
        return [*self._head, *self._ops]

    def _key(self, key: str) -> int:
        number = self._places.get(key)
        if number is None:
            self.keys.append(key)
            number = self._places[key] = len(self.keys)
        return number

    def write(self, old: Job | None, new: Job, extra: Extra, *, age: int = 0) -> "Change":
        """Write `new` where `old` is expected, and every entry that differs between them.

        The revision counts up from the one expected, or from `age` where that is more.
        """
        self.rev = f"{1 + max(age_of(self._expected), age)}.{secrets.token_hex(4)}"
        fields: list[Argument] = []
        if extra.inputs is not None:
            fields += ["inputs", extra.inputs]
        if extra.result is not None:
            fields += ["result", extra.result]
        if extra.unreadable is not None:
            fields += ["unreadable", extra.unreadable]
        self._head: list[Argument] = [
            self._expected,
            self.rev,
            encode(new),
            len(fields) // 2,
            *fields,
        ]
        for limit in extra.limits:
            self._ops += ["C", self._key(self._names.index(limit.kind, limit.name)), limit.most]
        self._move_entries(old, new)
        if extra.wake_up is not None:
            self._write_wake_up(extra.wake_up)
        if new.state is State.QUEUED:
            self._ops += ["P", self._key(self._names.wake), str(new.lane)]
        elif new.state in AT_REST:
            self._ops += ["P", self._key(self._names.rested), new.id]
        return self

    def delete(self, old: Job) -> "Change":
        """Delete a job and every entry it has."""
        self._head = [self._expected, "", "", 0]
        for entry in entries(old):
            self._ops += ["R", self._key(self._names.entry(entry)), old.id]
        return self

    def _move_entries(self, old: Job | None, new: Job) -> None:
        before = {(e.kind, e.name): e.score for e in entries(old)} if old is not None else {}
        for entry in entries(new):
            score = before.pop((entry.kind, entry.name), None)
            if score == entry.score:
                continue
            self._ops += ["A", self._key(self._names.entry(entry)), entry.score, new.id]
            if score is None:
                self._register(entry.kind, entry.name, new)
        for kind, name in before:
            self._ops += ["R", self._key(self._names.index(kind, name)), new.id]

    def _register(self, kind: Index, name: str, new: Job) -> None:
        if kind is Index.LANE:
            self._ops += ["N", self._key(self._names.lanes), new.updated_at, name]
        elif kind is Index.GROUP:
            self._ops += ["N", self._key(self._names.groups), new.updated_at, name]

    def _write_wake_up(self, entry: WakeUp) -> None:
        job = self._names.arq_job(entry.arq_id)
        self._ops += ["S", self._key(job), entry.payload, entry.ttl_ms]
        self._ops += ["A", self._key(self._names.arq_queue), entry.score_ms, entry.arq_id]


def age_of(rev: str | bytes) -> int:
    """How many versions a job has had, from its revision; an unreadable one counts as none."""
    text = rev if isinstance(rev, str) else rev.decode("ascii", "replace")
    count = text.partition(".")[0]
    return int(count) if count.isdecimal() else 0


def lane_cap(lane: Lane, most: int) -> Limit:
    """The precondition of a lane's concurrency cap."""
    return Limit(Index.ACTIVE, str(lane), most)


def gate_step(hold_id: str, most: int) -> Limit:
    """The precondition of an opening hold: so many submits under way at once."""
    return Limit(Index.GATE, hold_id, most)


__all__: Sequence[str] = (
    "NOTHING",
    "Change",
    "Extra",
    "Limit",
    "Stored",
    "WakeUp",
    "age_of",
    "gate_step",
    "lane_cap",
)
