"""Checks the chain of the audit log, in Redis or in an export."""

import math
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker.store.audit_chain import BEGIN, CHAINED_FIELDS, AuditChain
from worker.store.events import entry_id_parts
from worker.store.payload_cipher import PLAIN

ID: Final = "id"
STORED_FIELDS: Final = frozenset((ID, *CHAINED_FIELDS, "prev", "hash"))
MAX_EARLY_S: Final = 60.0
"""How far the clocks of Redis and of a writer may differ."""
LATE_AFTER_S: Final = 600.0

AuditRow = Mapping[str, str]
"""The fields of an entry as they are stored, with its id."""


@dataclass(slots=True)
class ChainReport:
    """What a check of the chain found."""

    entries: int = 0
    before_chain: int = 0
    """Entries of versions that wrote no hash; they come first."""
    unsigned: int = 0
    """Entries whose hash anybody can make: it needs no key."""
    unchecked: int = 0
    """Entries whose hash is made with a key that is not there."""
    anchor: str = BEGIN
    """The hash of the entry before the first: not empty where older entries were trimmed."""
    head: str = BEGIN
    """The hash of the last entry."""
    late: int = 0
    """Entries that were written long after what they tell of, as while Redis refused writes."""
    first_late: str = ""
    """The id of the first of them."""
    broken_at: str = ""
    """The id of the first entry that is not right; empty if all are."""
    problem: str = ""
    """What is wrong with it."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


async def verify_chain(rows: AsyncIterable[AuditRow], chain: AuditChain) -> ChainReport:
    """Check entries from the oldest to the newest; ends at the first that is not right."""
    report = ChainReport()
    async for row in rows:
        report.entries += 1
        given = row.get("hash", "")
        if not given and report.head == BEGIN:
            report.before_chain += 1
            continue
        prev = row.get("prev", "")
        if report.head == BEGIN:
            report.anchor = prev
        problem = _problem(row, prev, report, chain)
        if report.before_chain and report.head == BEGIN and prev != BEGIN:
            problem = (
                "it follows an entry that has a hash, and those before it have none: they were put"
                " in its place"
            )
        if problem:
            report.broken_at, report.problem = row[ID], problem
            return report
        name = given.partition(":")[0]
        report.unsigned += name == PLAIN
        report.unchecked += chain.is_valid(prev, row) is None
        if _written_after_s(row) > LATE_AFTER_S:
            report.late += 1
            report.first_late = report.first_late or row[ID]
        report.head = given
    return report


def _problem(row: AuditRow, prev: str, report: ChainReport, chain: AuditChain) -> str:
    """What is wrong with an entry behind those of a report; empty if nothing is."""
    given = row.get("hash", "")
    if not given:
        return "it has no hash: another program wrote it"
    if strange := STORED_FIELDS.symmetric_difference(row):
        return f"fields were added or removed: {', '.join(sorted(strange))}"
    if report.head not in (BEGIN, prev):
        return "the entry before it is missing, or was changed or added"
    is_signed = report.head.partition(":")[0] not in (BEGIN, PLAIN)
    if given.partition(":")[0] == PLAIN and is_signed:
        return (
            "it is not signed, behind one that is: it was added, or a process without"
            " KNOUDS_PAYLOAD_KEYS wrote it"
        )
    match chain.is_valid(prev, row):
        case False:
            return "it was changed"
        case _ if _written_after_s(row) < -MAX_EARLY_S:
            return "its id is of a time before what it tells of: it was moved"
        case None if chain.is_keyed:
            return "it is signed with a key that is not set here: it was added, or set that key too"
        case _:
            return ""


def _written_after_s(row: AuditRow) -> float:
    """Seconds from what an entry tells of until it was written, by its id."""
    try:
        return entry_id_parts(row[ID])[0] / 1_000 - float(row.get("at", ""))
    except ValueError:
        return math.inf


async def missing_of(
    exported: AsyncIterable[AuditRow], stored: AsyncIterable[AuditRow]
) -> tuple[int, str]:
    """How many entries of an export Redis has not, or has otherwise, and the id of the first."""
    found = {row[ID]: row.get("hash", "") async for row in stored}
    missing = [row[ID] async for row in exported if found.get(row[ID]) != row.get("hash", "")]
    return len(missing), missing[0] if missing else ""


async def as_async(rows: Sequence[AuditRow]) -> AsyncIterator[AuditRow]:
    """Rows that are there already, for the functions above."""
    for row in rows:
        yield row
