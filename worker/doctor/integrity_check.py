"""The census: every unfinished job is in exactly one watched place, every place points to a job.

What `jobs.indexes.entries` says of each record is compared with what Redis holds, in both
directions, while the workers go on. A first pass over the records remembers eight bytes for each
entry; a second one over the sets finds the members nobody claimed. Both give suspicions only, since
jobs move meanwhile: each is looked at again, record and place in one atomic step, and only what
stays wrong is told.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jobs.indexes import Entry, Index, entries
from jobs.states import SETTLED, State
from worker.clock import Clock
from worker.doctor import integrity_findings as damages
from worker.doctor.counts import disagreements
from worker.doctor.entry_set import Seen
from worker.doctor.integrity_findings import Damage, Judge, Kind, Suspicion
from worker.doctor.repair import Mender, Outcome
from worker.store import Store
from worker.store.integrity import RECORDS, Ledger, Record, paged

LOOKS: Final = 3
"""Atomic looks that have to agree before a damage is told."""

PAUSE_S: Final = 0.05
"""Between them: what writes in two steps has long done the second."""

KEPT: Final = 1_000
"""Damages a report spells out; the others are counted."""

Told = tuple[Damage, Outcome]


@dataclass(slots=True)
class Report:
    """What a census saw."""

    states: Counter[State] = field(default_factory=Counter[State])
    """Jobs by what their records say, in the course of the census."""
    entries: int = 0
    """Memberships the records speak of, all compared."""
    found: Counter[Kind] = field(default_factory=Counter[Kind])
    outcomes: Counter[Outcome] = field(default_factory=Counter[Outcome])
    told: list[Told] = field(default_factory=list[Told])
    """The first damages, with what became of each."""
    mendable: int = 0
    """Those left that `--repair` would put right."""
    seconds: float = 0.0

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        return self.states.total()

    @property
    def unfinished(self) -> int:
        """How many are not settled: a service moves them on, or a person those that are parked."""
        return sum(count for state, count in self.states.items() if state not in SETTLED)

    @property
    def clean(self) -> bool:
        """Whether nothing is left that is wrong."""
        return self.outcomes[Outcome.LEFT] == 0


class Census:
    """One walk through everything. Without a `mender` nothing is written."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        lease_s: float,
        slowest_poll_s: float = 0.0,
        mender: Mender | None = None,
        pause: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._keys = store.keys
        self._ledger = Ledger(store.client, store.keys)
        self._clock = clock
        self._lease_s = lease_s
        self._far_s = max(damages.FAR_S, 2 * slowest_poll_s)
        self._mender = mender
        self._pause = pause
        self._seen = Seen()
        self._known: set[int] = set()
        self._report = Report()

    async def run(self) -> Report:
        """Count; once an instance."""
        began = self._clock.now()
        indexes: set[str] = set()
        async for page in self._records(indexes):
            await self._compare(page)
        self._seen.seal()
        walkable = await self._of_right_type(list(indexes))
        await self._walk(walkable)
        await self._check_registers(walkable)
        await self._add_up()
        self._report.seconds = self._clock.now() - began
        return self._report

    # First pass: from the records to their places.

    async def _records(self, indexes: set[str]) -> AsyncIterator[list[Record]]:
        """The records in pages; the index keys met on the way are noted."""
        async for keys in self._ledger.keys():
            names: list[str] = []
            for key in dict.fromkeys(keys):
                if (job_id := self._ledger.job_of(key)) is not None:
                    names.append(job_id)
                elif self._ledger.index_of(key) is not None:
                    indexes.add(key)
            for page in paged(names, RECORDS):
                yield await self._ledger.records(page)

    async def _compare(self, page: Sequence[Record]) -> None:
        """Look each record's entries up; what does not agree is a suspicion."""
        wanted: dict[str, list[str]] = {}
        expected: list[tuple[str, str, Entry]] = []
        for record in page:
            if record.job is None:
                continue
            self._report.states[record.job.state] += 1
            for entry in entries(record.job):
                key = self._keys.entry(entry)
                self._seen.add(key, record.job_id)
                wanted.setdefault(key, []).append(record.job_id)
                expected.append((record.job_id, key, entry))
        self._report.entries += len(expected)
        scores = {key: iter(row) for key, row in (await self._ledger.scores(wanted)).items()}
        judge = self._judge()
        suspicions: list[Suspicion] = []
        for job_id, key, entry in expected:
            if key not in scores:
                continue  # it holds something else, which is told in the second pass
            score = next(scores[key])
            if score is None or judge.is_wrong(entry, score):
                suspicions.append(Suspicion(job_id, entry.kind, entry.name, key))
        await self._look_again(suspicions)
        await self._read_again([record.job_id for record in page if record.fault])

    async def _read_again(self, job_ids: Sequence[str]) -> None:
        """Tell of records that stay unreadable."""
        left = [Record(job_id, exists=True) for job_id in job_ids]
        for _ in range(LOOKS):
            if not left:
                return
            await self._pause(PAUSE_S)
            records = await self._ledger.records([record.job_id for record in left])
            left = [record for record in records if record.fault]
        for record in left:
            await self._tell(damages.unreadable(self._keys, record))

    # Second pass: from the places to the records.

    async def _of_right_type(self, indexes: Sequence[str]) -> list[str]:
        """Those of the indexes that can be walked; the others are told."""
        types = await self._ledger.types(indexes)
        for key, kind in types.items():
            if kind not in ("zset", "none"):
                await self._tell(damages.wrong_type(key, kind, "zset"))
        return [key for key, kind in types.items() if kind == "zset"]

    async def _walk(self, indexes: Sequence[str]) -> None:
        """Find the members that no record claimed."""
        async for key, members in self._ledger.walk(indexes):
            unclaimed = [m for m in members if not self._seen.has(key, m)]
            if unclaimed and (index := self._ledger.index_of(key)) is not None:
                await self._look_again([Suspicion(m, *index, key) for m in unclaimed])

    async def _check_registers(self, indexes: Sequence[str]) -> None:
        """Lanes and groups with jobs have to be on the register, and nothing else may be."""
        registers = {Index.LANE: self._keys.lanes, Index.GROUP: self._keys.groups}
        types = await self._ledger.types(list(registers.values()))
        for kind, register in registers.items():
            if types[register] not in ("zset", "none"):
                continue
            found = [(self._ledger.index_of(key), key) for key in indexes]
            named = {index[1]: key for index, key in found if index and index[0] is kind}
            named = {name: key for name, key in named.items() if damages.is_name(kind, name)}
            for _ in range(LOOKS):
                left = await self._ledger.unregistered(register, named)
                named = {name: named[name] for name in left}
            for name in named:
                now = self._clock.now()
                await self._tell(damages.unregistered(self._keys, kind, name, now))
            async for names in self._ledger.members(register):
                for name in names:
                    if not damages.is_name(kind, name):
                        await self._tell(damages.bad_name(self._keys, kind, name))

    async def _add_up(self) -> None:
        """Tell of sums that stay different."""
        found: list[str] = []
        for number in range(LOOKS):
            if number:
                await self._pause(PAUSE_S)
            found = await disagreements(self._ledger, self._keys)
            if not found:
                return
        for text in found:
            await self._tell(damages.counts(text))

    # Suspicions.

    async def _look_again(self, suspicions: Iterable[Suspicion]) -> None:
        """Tell of what stays wrong in several looks at record and place together."""
        left = list(suspicions)
        found: list[Damage] = []
        for number in range(LOOKS):
            if not left:
                return
            if number:
                await self._pause(PAUSE_S)
            wanted: dict[str, list[str]] = {}
            for suspicion in left:
                wanted.setdefault(suspicion.job_id, []).append(suspicion.key)
            looks = await self._ledger.looks(wanted)
            judge = self._judge()
            judged = [(s, judge.judge(s, looks[s.job_id])) for s in left]
            left = [suspicion for suspicion, damage in judged if damage is not None]
            found = [damage for _, damage in judged if damage is not None]
        for damage in found:
            await self._tell(damage)

    def _judge(self) -> Judge:
        return Judge(self._keys, self._clock.now(), self._lease_s, self._far_s)

    async def _tell(self, damage: Damage) -> None:
        """Put a damage on the report, once, and mend it where that is wanted and can be."""
        mark = hash((damage.kind, damage.key, damage.job_id, damage.text))
        if mark in self._known:  # the pages of a live keyspace may overlap
            return
        self._known.add(mark)
        outcome = Outcome.LEFT if self._mender is None else await self._mender.mend(damage)
        report = self._report
        report.found[damage.kind] += 1
        report.outcomes[outcome] += 1
        report.mendable += outcome is Outcome.LEFT and damage.mend is not None
        if len(report.told) < KEPT:
            report.told.append((damage, outcome))
