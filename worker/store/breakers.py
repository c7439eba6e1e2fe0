"""Breakers: one hash, each field `scope|cause` with `<epoch> <record as JSON>`.

The epoch stands before the record, so that `commit.lua` can compare it when a submit is marked as
sent. A change of state wakes every worker's admission, and is an entry of the event stream.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from jobs.breakers import Breaker, BreakerCause, new_breaker
from jobs.indexes import Index
from jobs.lanes import Scope
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode, encode_unique
from worker.store.commit import MAX_EVENT_ENTRIES
from worker.store.events import BREAKER_EVENT_FIELD, BreakerNotice
from worker.store.keys import Keys
from worker.store.scripts import Scripts

_breaker: Final = msgspec.json.Decoder(Breaker)


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
        """Every breaker with a record, by scope; closed ones without failures too."""
        found: list[bytes] = await self._client.call("HVALS", self._keys.breakers)
        known = [one for data in found if (one := decode_breaker_or_none(data)) is not None]
        return sorted(known, key=lambda one: one.key)

    async def find(self, breaker_id: str) -> Breaker | None:
        """One breaker by its public id."""
        return next((one for one in await self.list_all() if one.id == breaker_id), None)

    async def change(self, key: str, transform: Callable[[Breaker], Breaker]) -> BreakerChange:
        """Write what `transform` makes of a breaker; it may be called again after a lost race.

        A breaker without a record, or with an unreadable one, is closed. Raises RuntimeError after
        too many lost races.
        """
        found = new = _closed(key)

        def apply(current: Breaker) -> Breaker:
            nonlocal found
            found = current
            return transform(current)

        async with self._change_lock:
            new = await self._scripts.update_field(
                self._keys.breakers,
                key,
                decode=lambda data: _decode_or_closed(key, data),
                transform=apply,
                encode=_encode,
            )
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
        if found and decode_breaker_or_none(found) in (breaker, None):
            await self._scripts.swap(self._keys.breakers, breaker.key, found, b"")

    async def _announce(self, breaker: Breaker) -> None:
        notice = BreakerNotice(
            breaker.id, breaker.scope, breaker.cause, breaker.state, breaker.changed_at
        )
        await self._client.many(
            [
                ("PUBLISH", self._keys.wake, breaker.scope),
                (
                    *("XADD", self._keys.events, "MAXLEN", "~", MAX_EVENT_ENTRIES, "*"),
                    *(BREAKER_EVENT_FIELD, encode(notice)),
                ),
            ]
        )


def _closed(key: str) -> Breaker:
    scope, _, cause = key.partition("|")
    return new_breaker(Scope(scope), BreakerCause(cause))


def _encode(breaker: Breaker) -> bytes:
    return b"%d %s" % (breaker.epoch, encode_unique(breaker))


def _decode_or_closed(key: str, data: bytes) -> Breaker:
    return decode_breaker_or_none(data) or _closed(key)


def decode_breaker_or_none(data: bytes) -> Breaker | None:
    """Read a stored breaker; None if it is absent or unreadable."""
    try:
        return _breaker.decode(data.partition(b" ")[2]) if data else None
    except DECODE_ERRORS:
        return None
