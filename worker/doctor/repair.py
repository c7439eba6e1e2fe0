"""Repairs of index entries: one step each, under a precondition, with an audit entry."""

from enum import StrEnum
from typing import Final

from redis.exceptions import ResponseError

from worker.clock import Clock
from worker.doctor.integrity_findings import Damage
from worker.store import Store
from worker.store.commit import NewAuditEntry
from worker.store.integrity import IntegrityReader

AUDIT_ACTION: Final = "doctor.repair"


class RepairOutcome(StrEnum):
    """The result for one damage."""

    REPAIRED = "repaired"
    MOVED = "moved"
    """The job changed meanwhile, or another process repaired it: nothing was done."""
    LEFT = "left"
    """Still there: an operator must decide, or no repair was requested."""


class Repairer:
    """Repairs that an operator requests. It writes index entries only, never a job's record."""

    def __init__(self, store: Store, clock: Clock, *, by: str, note: str = "") -> None:
        self._reader = IntegrityReader(store.client, store.keys)
        self._audit = store.audit
        self._clock = clock
        self._by = by
        self._note = note

    async def repair(self, damage: Damage) -> RepairOutcome:
        """Repair one damage, if the record and its entries are unchanged."""
        if damage.repair is None:
            return RepairOutcome.LEFT
        try:
            if not await self._reader.repair(damage.repair):
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


def printable(name: str) -> str:
    """A name as text, with bytes that are not UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
