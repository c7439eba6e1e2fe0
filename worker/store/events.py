"""The stream of transitions and of notices: read on from an id, know what is kept."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobs.batches import BatchEvent
from jobs.breakers import BreakerCause, BreakerState
from jobs.budgets.warnings import BudgetChange
from jobs.credits.low_balance import BalanceChange
from jobs.lanes import Scope
from jobs.schedules.record import ScheduleChange
from worker.store.client import Client, Command
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.commit import MAX_EVENT_ENTRIES, TransitionEvent
from worker.store.keys import Keys

START: Final = "0-0"
"""The id before the first entry."""

_transition: Final = msgspec.json.Decoder(TransitionEvent)


BREAKER_EVENT_FIELD: Final = b"b"
"""The field of an entry that reports a breaker; transitions are in `t`."""


class BreakerNotice(msgspec.Struct, frozen=True):
    """A breaker changed, as the event stream stores it."""

    breaker: str
    """Its public id."""
    scope: Scope
    cause: BreakerCause
    state: BreakerState
    at: float
    """When it came to its state, Unix seconds."""


BUDGET_EVENT_FIELD: Final = b"budget"
BALANCE_EVENT_FIELD: Final = b"balance"
SCHEDULE_EVENT_FIELD: Final = b"schedule"


class BudgetNotice(msgspec.Struct, frozen=True):
    """A budget changed, as the event stream stores it."""

    name: str
    scope: str
    change: BudgetChange
    percent: int
    """What is spent and reserved of its limit."""
    at: float
    """Unix seconds."""
    resets_at: float | None = None
    """When its next period begins; None for a total."""


class BalanceNotice(msgspec.Struct, frozen=True):
    """An account is likely to run out of credits soon, or not any more. Amounts are credits."""

    account: str
    change: BalanceChange
    left: float | None
    """Of the balance that a person entered, as far as the ledger knows."""
    ahead: float
    """What runs, and what may start within the hour, is likely to cost."""
    at: float
    """Unix seconds."""
    dry_at: float | None = None
    """When nothing is left at the pace of the last hour; None without one."""


class ScheduleNotice(msgspec.Struct, frozen=True):
    """A schedule changed, or left ticks out, as the event stream stores it."""

    name: str
    """As it is stored."""
    lane: str
    """Of its jobs; empty where its record cannot be read."""
    change: ScheduleChange
    at: float
    """Unix seconds."""
    tick: int | None = None
    """The last tick that was left out, Unix seconds."""
    count: int = 0
    """How many ticks were left out."""


BATCH_EVENT_FIELD: Final = b"batch"


class BatchNotice(msgspec.Struct, frozen=True):
    """A batch changed, as the event stream stores it."""

    name: str
    """As it is stored: with the tenant that it belongs to."""
    event: BatchEvent
    at: float
    """Unix seconds."""
    total: int
    """Jobs that joined it."""
    open: int
    """Those that have not settled."""
    completion: int = 0
    """How often it has completed."""


Notice = BreakerNotice | BudgetNotice | BalanceNotice | ScheduleNotice | BatchNotice

_NOTICES: Final[dict[bytes, msgspec.json.Decoder[Notice]]] = {
    BREAKER_EVENT_FIELD: msgspec.json.Decoder(BreakerNotice),
    BUDGET_EVENT_FIELD: msgspec.json.Decoder(BudgetNotice),
    BALANCE_EVENT_FIELD: msgspec.json.Decoder(BalanceNotice),
    SCHEDULE_EVENT_FIELD: msgspec.json.Decoder(ScheduleNotice),
    BATCH_EVENT_FIELD: msgspec.json.Decoder(BatchNotice),
}


def notice_command(keys: Keys, field: bytes, notice: Notice) -> Command:
    """The command that adds an entry with one notice to the stream."""
    trimmed = ("XADD", keys.events, "MAXLEN", "~", MAX_EVENT_ENTRIES, "*")
    return (*trimmed, field, encode(notice))


@dataclass(frozen=True, slots=True)
class EventEntry:
    """The transitions of one atomic step, or one notice; ids of entries grow."""

    id: str
    transitions: tuple[TransitionEvent, ...]
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamExtent:
    """The ids of the first and the last entry of the stream, `0-0` if it is empty."""

    first: str
    last: str

    def has_all_after(self, entry_id: str) -> bool:
        """Whether every entry after `entry_id` is still in the stream."""
        return entry_id_parts(self.first) <= entry_id_parts(entry_id) <= entry_id_parts(self.last)


class EventLog:
    """The stream of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def extent(self) -> StreamExtent:
        """The first and the last entry."""
        first, last = await self._client.many(
            [
                ("XRANGE", self._keys.events, "-", "+", "COUNT", 1),
                ("XREVRANGE", self._keys.events, "+", "-", "COUNT", 1),
            ]
        )
        if not first or not last:
            return StreamExtent(START, START)
        return StreamExtent(first[0][0].decode(), last[0][0].decode())

    async def after(
        self, entry_id: str, count: int, wait_ms: int | None = None
    ) -> list[EventEntry]:
        """Up to `count` entries after an id; with `wait_ms` it waits that long for the first."""
        # Two words as the command's name: redis-py turns the reply to `XREAD` into one dict an
        # entry, but an entry has the same field many times.
        options: tuple[Any, ...] = ("XREAD COUNT", count)
        if wait_ms is not None:
            options += ("BLOCK", wait_ms)
        reply = await self._client.call(*options, "STREAMS", self._keys.events, entry_id)
        if not reply:
            return []
        ((_, entries),) = reply
        return [_decode_entry(name.decode(), fields) for name, fields in entries]


_ENTRY_ID: Final = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")
_MAX_ID_PART: Final = 2**64 - 1


def entry_id_parts(entry_id: str) -> tuple[int, int]:
    """An id as two numbers, which compare as ids do; raises ValueError for another text."""
    found = _ENTRY_ID.fullmatch(entry_id)
    parts = (0, 0) if found is None else (int(found[1]), int(found[2] or 0))
    if found is None or max(parts) > _MAX_ID_PART:
        raise ValueError("an id of an entry is two numbers of 64 bits with a dash between")
    return parts


def _decode_entry(entry_id: str, fields: Sequence[bytes]) -> EventEntry:
    transitions: list[TransitionEvent] = []
    notices: list[Notice] = []
    for name, data in zip(fields[::2], fields[1::2], strict=True):
        with suppress(*DECODE_ERRORS):
            if (decoder := _NOTICES.get(name)) is not None:
                notices.append(decoder.decode(data))
            else:
                transitions.append(_transition.decode(data))
    return EventEntry(entry_id, tuple(transitions), tuple(notices))
