"""The stream of transitions and changed breakers: read on from an id, know what is kept."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobs.breakers import BreakerCause, BreakerState
from jobs.lanes import Scope
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS
from worker.store.commit import TransitionEvent
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


_notice: Final = msgspec.json.Decoder(BreakerNotice)


@dataclass(frozen=True, slots=True)
class EventEntry:
    """The transitions of one atomic step, or a change of a breaker; ids of entries grow."""

    id: str
    transitions: tuple[TransitionEvent, ...]
    breakers: tuple[BreakerNotice, ...] = ()


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
    breakers: list[BreakerNotice] = []
    for name, data in zip(fields[::2], fields[1::2], strict=True):
        with suppress(*DECODE_ERRORS):
            if name == BREAKER_EVENT_FIELD:
                breakers.append(_notice.decode(data))
            else:
                transitions.append(_transition.decode(data))
    return EventEntry(entry_id, tuple(transitions), tuple(breakers))
