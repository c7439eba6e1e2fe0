"""What was said of budgets and balances, and the notices of it in the event stream.

One hash. A mark is written by compare-and-set before its notice is: of several workers one says
it, and none says it again after a crash in between.
"""

from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from jobs.budgets.warnings import BudgetMark
from jobs.credits.low_balance import BalanceMark
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode_unique, without_mark
from worker.store.events import (
    BALANCE_EVENT_FIELD,
    BUDGET_EVENT_FIELD,
    BalanceNotice,
    BudgetNotice,
    notice_command,
)
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import Scripts

T = TypeVar("T", bound=msgspec.Struct)

_budget_mark: Final = RecordSchema(BudgetMark, UNCHANGED)
_balance_mark: Final = RecordSchema(BalanceMark, UNCHANGED)

BUDGET: Final = "budget:"
BALANCE: Final = "balance:"


class StoredMark(NamedTuple, Generic[T]):
    """A mark as it is stored."""

    data: bytes = b""
    mark: T | None = None
    """None where there is none, or it cannot be read."""
    is_newer: bool = False
    """Whether a newer version wrote it, so that this one leaves it alone."""


class Marks(NamedTuple):
    """What was said."""

    budgets: dict[str, StoredMark[BudgetMark]]
    """By name; also of budgets that are no more."""
    balances: dict[str, StoredMark[BalanceMark]]
    """By account."""


class WarningStore:
    """What was said in one namespace."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def read(self) -> Marks:
        """Every mark: one command."""
        found = Marks({}, {})
        stored: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.warnings)
        for name, data in stored.items():
            field = name.decode("utf-8", "replace")
            if field.startswith(BUDGET):
                found.budgets[field.removeprefix(BUDGET)] = _decode(_budget_mark, data)
            elif field.startswith(BALANCE):
                found.balances[field.removeprefix(BALANCE)] = _decode(_balance_mark, data)
        return found

    async def mark_budget(
        self, name: str, before: StoredMark[BudgetMark], mark: BudgetMark | None
    ) -> bool:
        """Replace a mark (None: remove it); False if it is not as it was read."""
        return await self._replace(BUDGET + name, before.data, mark)

    async def mark_balance(
        self, account: str, before: StoredMark[BalanceMark], mark: BalanceMark | None
    ) -> bool:
        """Replace a mark (None: remove it); False if it is not as it was read."""
        return await self._replace(BALANCE + account, before.data, mark)

    async def drop_budget(self, name: str) -> None:
        """Remove the mark of a budget that is no more."""
        await self._client.call("HDEL", self._keys.warnings, BUDGET + name)

    async def announce_budget(self, notice: BudgetNotice) -> None:
        """Add an entry to the event stream; never raises what Redis raises."""
        command = notice_command(self._keys, BUDGET_EVENT_FIELD, notice)
        await self._scripts.announcements.send(command)

    async def announce_balance(self, notice: BalanceNotice) -> None:
        """Add an entry to the event stream; never raises what Redis raises."""
        command = notice_command(self._keys, BALANCE_EVENT_FIELD, notice)
        await self._scripts.announcements.send(command)

    async def _replace(self, field: str, before: bytes, mark: msgspec.Struct | None) -> bool:
        after = b"" if mark is None else encode_unique(mark)
        return await self._scripts.swap(self._keys.warnings, field, before, after)


def _decode(schema: RecordSchema[T], data: bytes) -> StoredMark[T]:
    try:
        return StoredMark(data, schema.decode(without_mark(data)))
    except NewerSchema:
        return StoredMark(data, is_newer=True)
    except DECODE_ERRORS:
        return StoredMark(data)
