"""The stream of transitions: read on from an id, and know where what is kept begins and ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS
from worker.store.commit import TransitionEvent
from worker.store.keys import Keys

START: Final = "0-0"
"""Before everything."""

_transition: Final = msgspec.json.Decoder(TransitionEvent)


@dataclass(frozen=True, slots=True)
class EventEntry:
    """What was written in one step: ids of entries grow."""

    id: str
    transitions: tuple[TransitionEvent, ...]


@dataclass(frozen=True, slots=True)
class StreamExtent:
    """What the stream holds now: ids of the first and the last entry, `0-0` where there is none."""

    first: str
    last: str

    def has_all_after(self, entry_id: str) -> bool:
        """Whether nothing that came after an entry was trimmed away, or lost with the stream."""
        return entry_id_parts(self.first) <= entry_id_parts(entry_id) <= entry_id_parts(self.last)


class EventLog:
    """The stream of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def extent(self) -> StreamExtent:
        """Where it begins and ends."""
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
        """The next entries behind one; with `wait_ms`, as soon as there is one, if it comes."""
        # Two words as the command's name: what redis-py makes of `XREAD` itself is a dict for each
        # entry, and an entry has the same field many times.
        options: tuple[Any, ...] = ("XREAD COUNT", count)
        if wait_ms is not None:
            options += ("BLOCK", wait_ms)
        reply = await self._client.call(*options, "STREAMS", self._keys.events, entry_id)
        if not reply:
            return []
        ((_, entries),) = reply
        return [EventEntry(name.decode(), _decode_transitions(fields)) for name, fields in entries]


def entry_id_parts(entry_id: str) -> tuple[int, int]:
    """An id as numbers, which compare as ids do; raises ValueError where it is none."""
    milliseconds, _, number = entry_id.partition("-")
    if not (milliseconds.isdecimal() and (number or "0").isdecimal()):
        raise ValueError("an id of an entry is two numbers with a dash between")
    return int(milliseconds), int(number or "0")


def _decode_transitions(fields: Sequence[bytes]) -> tuple[TransitionEvent, ...]:
    found: list[TransitionEvent] = []
    for data in fields[1::2]:
        try:
            found.append(_transition.decode(data))
        except DECODE_ERRORS:
            continue
    return tuple(found)
