"""The integrity check: each unfinished job is in one watched index, each entry has a job.

The entries that `jobs.indexes.entries` names for each record are compared with those in Redis, in
both directions, while the workers go on. A first pass over the records keeps eight bytes per entry;
a second pass over the indexes finds the members that no record claims. Both find suspicions only,
since jobs change meanwhile: each is read again, record and entry in one atomic step, and only what
stays wrong is reported.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jobs.indexes import Index, IndexEntry, entries
from jobs.states import SETTLED, State
from worker.clock import Clock
from worker.doctor import integrity_findings as damages
from worker.doctor.counts import count_mismatches
from worker.doctor.entry_set import EntrySet
from worker.doctor.fair_turns import wrong_turns
from worker.doctor.integrity_findings import Damage, DamageDetector, DamageKind, Suspicion
from worker.doctor.repair import Repairer, RepairOutcome
from worker.store import Store
from worker.store.integrity import RECORD_PAGE_SIZE, IntegrityReader, Record, paged

CONFIRMATIONS: Final = 3
"""Atomic reads that must agree before a damage is reported."""

CONFIRM_PAUSE_S: Final = 0.05
"""Between two reads: longer than a write in two steps takes."""

MAX_REPORTED: Final = 1_000
"""Damages that a report lists; the others are only counted."""

ReportedDamage = tuple[Damage, RepairOutcome]


@dataclass(slots=True)
class IntegrityReport:
    """The result of an integrity check."""

    states: Counter[State] = field(default_factory=Counter[State])
    """Jobs by the state in their record, as it was read."""
    entries_compared: int = 0
    """Index entries of the records, all compared."""
    counts_by_kind: Counter[DamageKind] = field(default_factory=Counter[DamageKind])
    outcomes: Counter[RepairOutcome] = field(default_factory=Counter[RepairOutcome])
    reported: list[ReportedDamage] = field(default_factory=list[ReportedDamage])
    """The first damages, each with the outcome of its repair."""
    repairable: int = 0
    """The damages left that `--repair` would repair."""
    duration_s: float = 0.0

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        return self.states.total()

    @property
    def unfinished(self) -> int:
        """How many jobs are not settled."""
        return sum(count for state, count in self.states.items() if state not in SETTLED)

    @property
    def is_clean(self) -> bool:
        """Whether no damage is left."""
        return self.outcomes[RepairOutcome.LEFT] == 0


class IntegrityCheck:
    """One check of every record and index. Without a `repairer` nothing is written."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        lease_s: float,
        max_poll_interval_s: float = 0.0,
        repairer: Repairer | None = None,
        pause: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._keys = store.keys
        self._reader = IntegrityReader(store.client, store.keys)
        self._clock = clock
        self._lease_s = lease_s
        self._max_lead_s = max(damages.MAX_LEAD_S, 2 * max_poll_interval_s)
        self._repairer = repairer
        self._pause = pause
        self._claimed = EntrySet()
        self._turn_keys: set[str] = set()
        self._reported: set[int] = set()
        self._report = IntegrityReport()

    async def run(self) -> IntegrityReport:
        """Run the check; once per instance."""
        started_at = self._clock.now()
        indexes: set[str] = set()
        async for page in self._records(indexes):
            await self._compare_records(page)
        self._claimed.seal()
        walkable = await self._sorted_sets(list(indexes))
        await self._find_unclaimed(walkable)
        await self._check_registers(walkable)
        await self._check_turns(walkable)
        await self._check_counts()
        self._report.duration_s = self._clock.now() - started_at
        return self._report

    # First pass: from the records to their entries.

    async def _records(self, indexes: set[str]) -> AsyncIterator[list[Record]]:
        """The records in pages; adds the index keys that it reads to `indexes`."""
        async for keys in self._reader.scan_keys():
            names: list[str] = []
            for key in dict.fromkeys(keys):
                if (job_id := self._reader.job_of(key)) is not None:
                    names.append(job_id)
                elif self._reader.index_of(key) is not None:
                    indexes.add(key)
                elif self._reader.lane_of_turns(key) is not None:
                    self._turn_keys.add(key)
            for page in paged(names, RECORD_PAGE_SIZE):
                yield await self._reader.records(page)

    async def _compare_records(self, page: Sequence[Record]) -> None:
        """Compare the entries of each record with Redis; a difference is a suspicion."""
        wanted: dict[str, list[str]] = {}
        expected: list[tuple[str, str, IndexEntry]] = []
        for record in page:
            if record.job is None:
                continue
            self._report.states[record.job.state] += 1
            for entry in entries(record.job):
                key = self._keys.entry(entry)
                self._claimed.add(key, record.job_id)
                wanted.setdefault(key, []).append(record.job_id)
                expected.append((record.job_id, key, entry))
        self._report.entries_compared += len(expected)
        scores = {key: iter(row) for key, row in (await self._reader.scores(wanted)).items()}
        detector = self._detector()
        suspicions: list[Suspicion] = []
        for job_id, key, entry in expected:
            if key not in scores:
                continue  # a key of another type is reported in the second pass
            score = next(scores[key])
            if score is None or detector.is_wrong_score(entry, score):
                suspicions.append(Suspicion(job_id, entry.kind, entry.name, key))
        await self._confirm(suspicions)
        await self._recheck_unreadable(
            [record.job_id for record in page if record.unreadable_reason]
        )

    async def _recheck_unreadable(self, job_ids: Sequence[str]) -> None:
        """Report the records that stay unreadable."""
        left = [Record(job_id, exists=True) for job_id in job_ids]
        for _ in range(CONFIRMATIONS):
            if not left:
                return
            await self._pause(CONFIRM_PAUSE_S)
            records = await self._reader.records([record.job_id for record in left])
            left = [record for record in records if record.unreadable_reason]
        for record in left:
            await self._report_damage(damages.unreadable(self._keys, record))

    # Second pass: from the entries to the records.

    async def _sorted_sets(self, indexes: Sequence[str]) -> list[str]:
        """The indexes that are sorted sets; the others are reported."""
        types = await self._reader.types(indexes)
        for key, kind in types.items():
            if kind not in ("zset", "none"):
                await self._report_damage(damages.wrong_type(key, kind, "zset"))
        return [key for key, kind in types.items() if kind == "zset"]

    async def _find_unclaimed(self, indexes: Sequence[str]) -> None:
        """Confirm and report the members that no record claims."""
        async for key, members in self._reader.walk(indexes):
            unclaimed = [m for m in members if not self._claimed.has(key, m)]
            if unclaimed and (index := self._reader.index_of(key)) is not None:
                await self._confirm([Suspicion(m, *index, key) for m in unclaimed])

    async def _check_registers(self, indexes: Sequence[str]) -> None:
        """Report names with jobs that are not registered, and invalid names that are."""
        registers = {
            kind: register for kind in Index if (register := self._keys.register(kind)) is not None
        }
        types = await self._reader.types(list(registers.values()))
        for kind, register in registers.items():
            if types[register] not in ("zset", "none"):
                continue
            found = [(self._reader.index_of(key), key) for key in indexes]
            named = {index[1]: key for index, key in found if index and index[0] is kind}
            named = {name: key for name, key in named.items() if damages.is_valid_name(kind, name)}
            for _ in range(CONFIRMATIONS):
                left = await self._reader.unregistered(register, named)
                named = {name: named[name] for name in left}
            for name in named:
                now = self._clock.now()
                await self._report_damage(damages.unregistered(self._keys, kind, name, now))
            async for names in self._reader.members(register):
                for name in names:
                    if not damages.is_valid_name(kind, name):
                        await self._report_damage(damages.bad_name(self._keys, kind, name))

    async def _check_turns(self, indexes: Sequence[str]) -> None:
        """Report fair keys whose turns are wrong."""
        turns = await self._sorted_sets(list(self._turn_keys))

        async def pause() -> None:
            await self._pause(CONFIRM_PAUSE_S)

        async for lane, turn in wrong_turns(self._reader, turns, indexes, pause, CONFIRMATIONS):
            key, now = self._keys.key_turns(lane), self._clock.now()
            await self._report_damage(damages.wrong_turn(self._reader, key, lane, turn, now))

    async def _check_counts(self) -> None:
        """Report the sums that stay different."""
        found: list[str] = []
        for number in range(CONFIRMATIONS):
            if number:
                await self._pause(CONFIRM_PAUSE_S)
            found = await count_mismatches(self._reader, self._keys)
            if not found:
                return
        for text in found:
            await self._report_damage(damages.count_mismatch(text))

    # Suspicions.

    async def _confirm(self, suspicions: Iterable[Suspicion]) -> None:
        """Report what stays wrong in several atomic reads of record and entry."""
        left = list(suspicions)
        found: list[Damage] = []
        for number in range(CONFIRMATIONS):
            if not left:
                return
            if number:
                await self._pause(CONFIRM_PAUSE_S)
            wanted: dict[str, list[str]] = {}
            for suspicion in left:
                wanted.setdefault(suspicion.job_id, []).append(suspicion.key)
            snapshots = await self._reader.read_with_scores(wanted)
            detector = self._detector()
            results = [(s, detector.detect(s, snapshots[s.job_id])) for s in left]
            left = [suspicion for suspicion, damage in results if damage is not None]
            found = [damage for _, damage in results if damage is not None]
        found.sort(key=lambda damage: damage.parks)  # parking makes the other repairs too late
        for damage in found:
            await self._report_damage(damage)

    def _detector(self) -> DamageDetector:
        return DamageDetector(self._keys, self._clock.now(), self._lease_s, self._max_lead_s)

    async def _report_damage(self, damage: Damage) -> None:
        """Report a damage once, and repair it where there is a repairer."""
        mark = hash((damage.kind, damage.key, damage.job_id, damage.text))
        if mark in self._reported:  # the pages of a live keyspace may overlap
            return
        self._reported.add(mark)
        outcome = (
            RepairOutcome.LEFT if self._repairer is None else await self._repairer.repair(damage)
        )
        report = self._report
        report.counts_by_kind[damage.kind] += 1
        report.outcomes[outcome] += 1
        report.repairable += outcome is RepairOutcome.LEFT and damage.repair is not None
        if len(report.reported) < MAX_REPORTED:
            report.reported.append((damage, outcome))
