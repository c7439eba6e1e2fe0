"""Holds, cool-downs and sync-only targets; and every gate of a namespace in one read."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from jobs.holds import CoolDown, Gates, Hold, apply_refusal, has_proved_open, target_holds_by_owner
from jobs.lanes import Lane, is_target_scope
from jobs.newer import newer_hold
from jobs.unreadable_holds import is_unreadable_hold, unreadable_record_hold
from worker.store.breakers import decode_breakers
from worker.store.client import Client, pairs
from worker.store.codec import DECODE_ERRORS, decode_cool_down, decode_hold, encode, encode_unique
from worker.store.keys import Keys
from worker.store.lane_caps import decode_caps
from worker.store.schema import NewerSchema
from worker.store.scripts import Scripts
from worker.store.unreadable_gates import log_unreadable

MAX_HOLDS: Final = 1_000
"""Holds that stand at once, about: each worker reads them all, and a provider may refuse each of
the targets that apps name. Those that stop accounts and routes come on top."""

MAX_HOLDS_OF_OWNER: Final = 100
"""Of these, about: on targets, for jobs of one tenant, or of one token without a tenant. So none
takes the places of all others."""


class HoldStore:
    """The gates of one namespace, shared by every worker."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._change_lock = asyncio.Lock()

    async def gates(self) -> Gates:
        """All gates that are closed or opening now."""
        holds, cool_downs, sync_only, breakers, caps = await self._client.many(
            [
                ("HGETALL", self._keys.holds),
                ("HGETALL", self._keys.cool_downs),
                ("ZRANGE", self._keys.sync_only, 0, -1, "WITHSCORES"),
                ("HGETALL", self._keys.breakers),
                ("HGETALL", self._keys.lane_caps),
            ],
        )
        return Gates(
            decode_holds(holds),
            tuple(_decode_cool_downs(cool_downs)),
            dict(pairs(sync_only)),
            decode_breakers(breakers),
            decode_caps(caps),
        )

    async def list_all(self) -> list[Hold]:
        """All holds, oldest first; one that cannot be read, or is newer, as a closed one."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.holds)
        return sorted(decode_holds(found), key=lambda hold: hold.created_at)

    async def find(self, hold_id: str) -> Hold | None:
        """One hold by its id."""
        return next((hold for hold in await self.list_all() if hold.id == hold_id), None)

    async def place(self, new: Hold) -> Hold | None:
        """Place a hold, or count one more refusal of the hold that exists and can be read.

        None where it is not placed, see `is_too_many`: what it stops is refused job by job.
        """
        if await self.is_too_many(new):
            return None

        def refused(current: Hold | None) -> Hold:
            return apply_refusal(None if is_unreadable_hold(current) else current, new)

        return await self.change(new.key, refused) or new

    async def is_too_many(self, new: Hold) -> bool:
        """Whether it would be one more for a target or a stopped scope where `MAX_HOLDS` stand.

        For a target also where `MAX_HOLDS_OF_OWNER` stand for its owner.
        """
        exists, count = await self._client.many(
            [("HEXISTS", self._keys.holds, new.key), ("HLEN", self._keys.holds)]
        )
        if exists or count < min(MAX_HOLDS, MAX_HOLDS_OF_OWNER):
            return False
        if is_target_scope(new.scope):
            if count >= MAX_HOLDS or new.is_manual:
                return bool(count >= MAX_HOLDS)
            counts = target_holds_by_owner(await self.list_all())
            return counts[new.placed_for] >= MAX_HOLDS_OF_OWNER
        return count >= MAX_HOLDS and any(
            hold.scope == new.scope and hold.stops_submits for hold in await self.list_all()
        )

    async def remove_nameless(self, hold_id: str) -> bool:
        """Remove a field that is not `scope|code`, so that no hold is under it; whether it did."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.holds)
        for field, data in found.items():
            key = field.decode("utf-8", "replace")
            is_meant = unreadable_record_hold(key, "").id == hold_id
            if is_meant and ("|" not in key or key.encode() != field):
                return await self._scripts.swap(self._keys.holds, field, data, b"")
        return False

    async def change(
        self, key: str, transform: Callable[[Hold | None], Hold | None]
    ) -> Hold | None:
        """Write what `transform` makes of the hold under a key (`scope|code`); returns it.

        None means no hold. One that cannot be read is a closed one, see `jobs.unreadable_holds`.
        One that a newer version wrote is left as it is, and returned as a closed one. Raises
        RuntimeError after too many lost races.
        """
        try:
            async with self._change_lock:
                return await self._scripts.update_field(
                    self._keys.holds,
                    key,
                    decode=lambda data: _decode_hold_or_none(key, data),
                    transform=transform,
                    encode=_encode_hold,
                )
        except NewerSchema as newer:
            return newer_hold(key, str(newer))

    async def place_cool_down(self, cool_down: CoolDown) -> None:
        """Start a cool-down of a scope; one that ends later, or is of a newer version, stays."""

        def later(current: CoolDown | None) -> CoolDown | None:
            keeps = current is not None and current.until >= cool_down.until
            return current if keeps else cool_down

        with contextlib.suppress(NewerSchema):
            await self._scripts.update_field(
                self._keys.cool_downs,
                cool_down.scope,
                decode=lambda data: _decode_cool_down_or_none(cool_down.scope, data),
                transform=later,
                encode=encode,
            )

    async def remove_expired_cool_downs(self, now: float) -> None:
        """Remove cool-downs that have ended."""
        found_by_scope: dict[bytes, bytes] = await self._client.call(
            "HGETALL", self._keys.cool_downs
        )
        for field, found in found_by_scope.items():
            try:
                cool = _decode_cool_down_or_none(field, found)
            except NewerSchema:
                continue
            if cool is None or cool.until <= now:
                await self._scripts.swap(self._keys.cool_downs, field, found, b"")

    async def remove_proved_open(self, now: float) -> None:
        """Remove opening holds that count as open after a quiet time."""
        for hold in await self.list_all():
            if has_proved_open(hold, now):  # so it could be read, and is not a newer one
                await self.change(hold.key, lambda found: _unless_proved_open(found, now))

    # Targets without async mode.

    async def remember_sync_only(self, lane: Lane, until: float) -> None:
        """Remember until a time (Unix seconds) that a lane's target has no async mode."""
        await self._client.call("ZADD", self._keys.sync_only, "GT", until, str(lane))

    async def remove_expired_sync_only(self, now: float) -> None:
        """Forget sync-only targets whose time has passed."""
        await self._client.call("ZREMRANGEBYSCORE", self._keys.sync_only, "-inf", now)


def _unless_proved_open(hold: Hold | None, now: float) -> Hold | None:
    return None if hold is None or has_proved_open(hold, now) else hold


def _encode_hold(hold: Hold | None) -> bytes:
    return b"" if hold is None else encode_unique(hold)


def decode_holds(found: Mapping[bytes, bytes]) -> tuple[Hold, ...]:
    """The holds; closed ones in place of those that cannot be read, or are of a newer version."""
    holds: list[Hold] = []
    for field, data in found.items():
        key = field.decode("utf-8", "replace")
        try:
            hold = _decode_hold_or_none(key, data)
        except NewerSchema as newer:
            hold = newer_hold(key, str(newer))
        # An empty record cannot be read, either: a hold that is gone has no field.
        holds.append(hold or unreadable_record_hold(key, "it is empty"))
    return tuple(holds)


def _decode_cool_downs(found: Mapping[bytes, bytes]) -> Iterable[CoolDown]:
    """The cool-downs that can be read."""
    for field, data in found.items():
        with contextlib.suppress(NewerSchema):
            if (cool := _decode_cool_down_or_none(field, data)) is not None:
                yield cool


def _decode_hold_or_none(key: str, data: bytes) -> Hold | None:
    """The hold in a field; None if it is absent, a closed one if it cannot be read."""
    if not data:
        return None
    try:
        hold = decode_hold(data)
        return hold if hold.key == key else unreadable_record_hold(key, f"it is of {hold.key}")
    except DECODE_ERRORS as error:
        why = log_unreadable("hold", key, error, "its scope stays closed until it is released")
        return unreadable_record_hold(key, why)


def _decode_cool_down_or_none(field: bytes | str, data: bytes) -> CoolDown | None:
    """The cool-down in a field; None if it is absent or unreadable: it would end by itself."""
    if not data:
        return None
    try:
        return decode_cool_down(data)
    except DECODE_ERRORS as error:
        log_unreadable("cool_down", field, error, "it counts as ended")
        return None
