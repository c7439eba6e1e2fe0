"""Breakers: one hash, each field `scope|cause` with `<epoch> <record as JSON>`.

The epoch stands before the record, so that `commit.lua` can compare it when a submit is marked as
sent. A change of state wakes every worker's admission, and is an entry of the event stream.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from jobs.breakers import Breaker, BreakerCause, new_breaker
from jobs.indexes import Index
from jobs.lanes import Scope
from jobs.newer import newer_breaker
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode, encode_unique, without_mark
from worker.store.commit import MAX_EVENT_ENTRIES
from worker.store.events import BREAKER_EVENT_FIELD, BreakerNotice
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import Scripts

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

        One of a newer version, which this one cannot read, counts as open.
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
            unchanged = newer_breaker(key, 0, str(newer)) or _closed(key)
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
            (
                *("XADD", self._keys.events, "MAXLEN", "~", MAX_EVENT_ENTRIES, "*"),
                *(BREAKER_EVENT_FIELD, encode(notice)),
            ),
        )


def _closed(key: str) -> Breaker:
    scope, _, cause = key.partition("|")
    return new_breaker(Scope(scope), BreakerCause(cause))


def _encode(breaker: Breaker) -> bytes:
    return b"%d %s" % (breaker.epoch, encode_unique(breaker))


def _decode_or_closed(key: str, data: bytes) -> Breaker:
    return _decode_or_none(data) or _closed(key)


def decode_breakers(found: Mapping[bytes, bytes]) -> tuple[Breaker, ...]:
    """The breakers that can be read; open ones in place of those of a newer version."""
    breakers: list[Breaker] = []
    for key, data in found.items():
        try:
            one = _decode_or_none(data)
        except NewerSchema as newer:
            epoch = data.partition(b" ")[0]
            number = int(epoch) if epoch.isdigit() else 0
            one = newer_breaker(key.decode("utf-8", "replace"), number, str(newer))
        if one is not None:
            breakers.append(one)
    return tuple(breakers)


def _decode_or_none(data: bytes) -> Breaker | None:
    """Read a stored breaker; None if it is absent or unreadable. Raises `NewerSchema`."""
    try:
        return _breaker.decode(without_mark(data.partition(b" ")[2])) if data else None
    except DECODE_ERRORS:
        return None
