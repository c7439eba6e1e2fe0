"""Putting back what has one right place: step by step, under precondition, on record."""

from enum import StrEnum
from typing import Final

from redis.exceptions import ResponseError

from worker.clock import Clock
from worker.doctor.integrity_findings import Damage
from worker.store import Store
from worker.store.integrity import Ledger

ACT: Final = "doctor.repair"


class Outcome(StrEnum):
    """What became of a damage."""

    MENDED = "mended"
    MOVED = "moved"
    """The job moved on meanwhile, or somebody else put it right: nothing was done."""
    LEFT = "left"
    """Still there: a person has to decide, or nobody asked to repair it."""


class Mender:
    """Repairs on a person's word. Entries only: no record, and so no state, is ever touched."""

    def __init__(self, store: Store, clock: Clock, *, by: str, note: str = "") -> None:
        self._ledger = Ledger(store.client, store.keys)
        self._audit = store.audit
        self._clock = clock
        self._by = by
        self._note = note

    async def mend(self, damage: Damage) -> Outcome:
        """Mend one damage, if it still is as it was judged."""
        if damage.mend is None:
            return Outcome.LEFT
        try:
            if not await self._ledger.mend(damage.mend):
                return Outcome.MOVED
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return Outcome.LEFT  # another key of the step is told as a wrong type
        what = f"{damage.kind}: {shown(damage.text)}"
        await self._audit.record(
            at=self._clock.now(),
            by=self._by,
            act=ACT,
            on=shown(damage.job_id or damage.key),
            note=f"{what} ({self._note})" if self._note else what,
            jobs=1 if damage.job_id else 0,
        )
        return Outcome.MENDED


def shown(name: str) -> str:
    """A name as text, whatever bytes it was made of."""
    return name.encode("utf-8", "backslashreplace").decode()
