"""Repairs of index entries: one step each, under a precondition, with an audit entry.

A job that would be submitted after the repair is parked instead: its record may be an older one.
"""

from enum import StrEnum
from typing import Final

from redis.exceptions import ResponseError

from jobs import transitions
from worker.clock import Clock
from worker.doctor.integrity_findings import Damage
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.integrity import IntegrityReader
from worker.store.side_writes import NewAuditEntry

AUDIT_ACTION: Final = "doctor.repair"

PARKED: Final = (
    "it was missing where jobs wait, so something else wrote to Redis and its record may be older"
    " than its run: look for the run at the provider, then release or discard it"
)


class RepairOutcome(StrEnum):
    """The result for one damage."""

    REPAIRED = "repaired"
    MOVED = "moved"
    """The job changed meanwhile, or another process repaired it: nothing was done."""
    LEFT = "left"
    """Still there: an operator must decide, or no repair was requested."""


class Repairer:
    """Repairs that an operator requests."""

    def __init__(self, store: Store, clock: Clock, *, by: str, note: str = "") -> None:
        self._reader = IntegrityReader(store.client, store.keys)
        self._jobs = store.jobs
        self._audit = store.audit
        self._clock = clock
        self._by = by
        self._note = note

    async def repair(self, damage: Damage) -> RepairOutcome:
        """Repair one damage, if the record and its entries are unchanged."""
        if damage.repair is None:
            return RepairOutcome.LEFT
        try:
            is_done = await (
                self._park(damage.job_id, damage.repair.expected_rev)
                if damage.parks
                else self._reader.repair(damage.repair)
            )
            if not is_done:
                return RepairOutcome.MOVED
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return RepairOutcome.LEFT  # another key of the step is reported as a wrong type
        what = f"{damage.kind}: {printable(damage.text)}"
        await self._audit.append(
            NewAuditEntry(
                at=self._clock.now(),
                by=self._by,
                action=AUDIT_ACTION,
                on=printable(damage.job_id or damage.key),
                note=f"{what} ({self._note})" if self._note else what,
                jobs=1 if damage.job_id else 0,
            )
        )
        return RepairOutcome.REPAIRED

    async def _park(self, job_id: str, expected_rev: str) -> bool:
        """Park a job, which writes what it changes; False if it changed since it was checked."""
        stored = await self._jobs.load(job_id)
        if stored is None or stored.rev != expected_rev:
            return False
        after = transitions.park_manual(stored.job, self._clock.now(), by=self._by, note=PARKED)
        return isinstance(await self._jobs.commit(stored, after), VersionedJob)


def printable(name: str) -> str:
    """A name as text, with bytes that are not UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
