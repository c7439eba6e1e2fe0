"""What was said of budgets, and the notices of it in the event stream.

One hash. A mark is written by compare-and-set before its notice is: of several workers one says
it, and none says it again after a crash in between.
"""

from typing import Final, NamedTuple

from jobs.budgets.warnings import BudgetMark
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode_unique, without_mark
from worker.store.events import BUDGET_EVENT_FIELD, BudgetNotice, notice_command
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import Scripts

_budget_mark: Final = RecordSchema(BudgetMark, UNCHANGED)

BUDGET: Final = "budget:"


class StoredMark(NamedTuple):
    """A mark of a budget as it is stored."""

    data: bytes
    mark: BudgetMark | None
    """None where it cannot be read."""
    is_newer: bool = False
    """Whether a newer version wrote it, so that this one leaves it alone."""


ABSENT: Final = StoredMark(b"", None)


class WarningStore:
    """What was said in one namespace."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def budgets(self) -> dict[str, StoredMark]:
        """Name of a budget → its mark; also of budgets that are no more."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.warnings)
        named = ((field.decode("utf-8", "replace"), data) for field, data in found.items())
        return {
            field.removeprefix(BUDGET): _decode(data)
            for field, data in named
            if field.startswith(BUDGET)
        }

    async def mark_budget(self, name: str, before: StoredMark, mark: BudgetMark | None) -> bool:
        """Replace a mark (None: remove it); False if it is not as it was read."""
        after = b"" if mark is None else encode_unique(mark)
        return await self._scripts.swap(self._keys.warnings, BUDGET + name, before.data, after)

    async def drop_budget(self, name: str) -> None:
        """Remove the mark of a budget that is no more."""
        await self._client.call("HDEL", self._keys.warnings, BUDGET + name)

    async def announce_budget(self, notice: BudgetNotice) -> None:
        """Add an entry to the event stream; never raises what Redis raises."""
        command = notice_command(self._keys, BUDGET_EVENT_FIELD, notice)
        await self._scripts.announcements.send(command)


def _decode(data: bytes) -> StoredMark:
    try:
        return StoredMark(data, _budget_mark.decode(without_mark(data)))
    except NewerSchema:
        return StoredMark(data, None, is_newer=True)
    except DECODE_ERRORS:
        return StoredMark(data, None)
