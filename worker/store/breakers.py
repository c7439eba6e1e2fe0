"""Breakers: one hash, each field `scope|cause` with `<epoch> <record as JSON>`.

The epoch stands before the record, so that `commit.lua` can compare it when a submit is marked as
sent. A change of state wakes every worker's admission, and is an entry of the event stream.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from jobs.breakers import Breaker, BreakerCause, BreakerError, new_breaker
from jobs.indexes import Index
from jobs.lanes import Scope
from jobs.newer import newer_breaker
from jobs.unreadable import UNREADABLE
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode_unique, without_mark
from worker.store.events import BREAKER_EVENT_FIELD, BreakerNotice, notice_command
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import Scripts
from worker.store.unreadable_gates import log_unreadable

_breaker: Final = RecordSchema(Breaker, UNCHANGED)


class BreakerChange(NamedTuple):
    """What one change made of a breaker."""

    before: Breaker
    after: Breaker

    @property
    def is_visible(self) -> bool:
        """Whether another number of submits may pass than before, or its next probe is another."""
        one, other = self.before, self.after
        return (one.state, one.step, one.next_probe_at, one.is_shared, one.workers) != (
            other.state,
            other.step,
            other.next_probe_at,
            other.is_shared,
            other.workers,
        )


class BreakerStore:
    """The breakers of one namespace, shared by every worker."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._change_lock = asyncio.Lock()

    async def list_all(self) -> list[Breaker]:
        """Every breaker with a record, by scope; closed ones without failures too.

        One of a newer version counts as open, unless it can be read that it is closed.
        """
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.breakers)
        return sorted(decode_breakers(found), key=lambda one: one.key)

    async def find(self, breaker_id: str) -> Breaker | None:
        """One breaker by its public id."""
        return next((one for one in await self.list_all() if one.id == breaker_id), None)

    async def change(self, key: str, transform: Callable[[Breaker], Breaker]) -> BreakerChange:
        """Write what `transform` makes of a breaker; it may be called again after a lost race.

        A breaker without a record, or with an unreadable one, is closed. One that a newer version
        wrote is left as it is. Raises RuntimeError after too many lost races.
        """
        found = new = _closed(key)

        def apply(current: Breaker) -> Breaker:
            nonlocal found
            found = current
            return transform(current)

        try:
            async with self._change_lock:
                new = await self._scripts.update_field(
                    self._keys.breakers,
                    key,
                    decode=lambda data: _decode_or_closed(key, data),
                    transform=apply,
                    encode=_encode,
                )
        except NewerSchema as newer:
            unchanged = newer_breaker(key, 0, str(newer), newer.members) or _closed(key)
            return BreakerChange(unchanged, unchanged)
        change = BreakerChange(found, new)
        if change.is_visible:
            await self._announce(new)
        return change

    async def count_active(self, lane: Scope) -> int:
        """How many jobs of a lane are submitting or running."""
        return int(await self._client.call("ZCARD", self._keys.index(Index.ACTIVE, lane)))

    async def remove(self, breaker: Breaker) -> None:
        """Remove a record, if it is still as it was read but for its epoch."""
        found: bytes = await self._client.call("HGET", self._keys.breakers, breaker.key) or b""
        with contextlib.suppress(NewerSchema):
            if found and _decode_or_none(found) in (breaker, None):
                await self._scripts.swap(self._keys.breakers, breaker.key, found, b"")

    async def _announce(self, breaker: Breaker) -> None:
        notice = BreakerNotice(
            breaker.id, breaker.scope, breaker.cause, breaker.state, breaker.changed_at
        )
        await self._scripts.announcements.send(
            ("PUBLISH", self._keys.wake, breaker.scope),
            notice_command(self._keys, BREAKER_EVENT_FIELD, notice),
        )


def _closed(key: str, epoch: int = 0) -> Breaker:
    scope, _, cause = key.partition("|")
    return msgspec.structs.replace(new_breaker(Scope(scope), BreakerCause(cause)), epoch=epoch)


def _encode(breaker: Breaker) -> bytes:
    return b"%d %s" % (breaker.epoch, encode_unique(breaker))


def _decode_or_closed(key: str, data: bytes) -> Breaker:
    """A breaker; a closed one of the same epoch if it cannot be read. Raises `NewerSchema`."""
    return _decode_or_none(data) or _closed(key, _epoch_of(data))


def decode_breakers(found: Mapping[bytes, bytes]) -> tuple[Breaker, ...]:
    """The breakers; of those of a newer version what `newer_breaker` reads.

    One that cannot be read counts as closed, with its epoch: nobody could close it otherwise, and
    the next outcome writes it anew. Those of an unknown cause are left out.
    """
    breakers: list[Breaker] = []
    for field, data in found.items():
        key = field.decode("utf-8", "replace")
        if key.partition("|")[2] not in tuple(BreakerCause):
            continue
        try:
            one = _breaker.decode(_record(data))
        except NewerSchema as newer:
            shown = newer_breaker(key, _epoch_of(data), str(newer), newer.members)
            one = shown or _closed(key, _epoch_of(data))
        except DECODE_ERRORS as error:
            why = log_unreadable("breaker", key, error, "it counts as closed")
            one = msgspec.structs.replace(
                _closed(key, _epoch_of(data)), error=BreakerError(UNREADABLE, message=why)
            )
        breakers.append(one)
    return tuple(breakers)


def _record(data: bytes) -> bytes:
    return without_mark(data.partition(b" ")[2])


def _epoch_of(data: bytes) -> int:
    """The epoch that `commit.lua` compares."""
    digits = re.match(rb"[0-9]+", data)
    return int(digits[0]) if digits else 0


def _decode_or_none(data: bytes) -> Breaker | None:
    """Read a stored breaker; None if it is absent or unreadable. Raises `NewerSchema`."""
    try:
        return _breaker.decode(_record(data)) if data else None
    except DECODE_ERRORS:
        return None
