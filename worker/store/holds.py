"""Holds, cool-downs and the memory of sync-only targets."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from jobs.holds import CoolDown, Gates, Hold, apply_refusal, has_proved_open
from jobs.lanes import Lane
from worker.store.client import Client, pairs
from worker.store.codec import DECODE_ERRORS, decode_cool_down, decode_hold, encode
from worker.store.keys import Keys
from worker.store.scripts import Scripts

MAX_SWAP_ATTEMPTS: Final = 200
"""Only other processes race for a hold: more lost races than this mean something is wrong."""


class HoldStore:
    """The gates of one namespace, shared by every worker."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._change_lock = asyncio.Lock()

    async def gates(self) -> Gates:
        """Every gate that stands now."""
        holds, cool_downs, sync_only = await self._client.many(
            [
                ("HVALS", self._keys.holds),
                ("HVALS", self._keys.cool_downs),
                ("ZRANGE", self._keys.sync_only, 0, -1, "WITHSCORES"),
            ],
        )
        return Gates(
            tuple(hold for data in holds if (hold := _decode_hold_or_none(data)) is not None),
            tuple(
                cool for data in cool_downs if (cool := _decode_cool_down_or_none(data)) is not None
            ),
            dict(pairs(sync_only)),
        )

    async def list_all(self) -> list[Hold]:
        """All holds, oldest first."""
        found: list[bytes] = await self._client.call("HVALS", self._keys.holds)
        known = [hold for data in found if (hold := _decode_hold_or_none(data)) is not None]
        return sorted(known, key=lambda hold: hold.created_at)

    async def find(self, hold_id: str) -> Hold | None:
        """One hold by its id."""
        return next((hold for hold in await self.list_all() if hold.id == hold_id), None)

    async def place(self, new: Hold) -> Hold:
        """Make a hold stand, or count another hit of the one that does."""
        return await self.change(new.key, lambda standing: apply_refusal(standing, new)) or new

    async def change(
        self, key: str, transform: Callable[[Hold | None], Hold | None]
    ) -> Hold | None:
        """Apply a decision to what stands under a key (`scope|code`), against lost races."""
        async with self._change_lock:
            for _ in range(MAX_SWAP_ATTEMPTS):
                found: bytes = await self._client.call("HGET", self._keys.holds, key) or b""
                after = transform(_decode_hold_or_none(found) if found else None)
                value = _encode_unique(after) if after is not None else b""
                if await self._scripts.swap(self._keys.holds, key, found, value):
                    return after
        raise RuntimeError(
            f"hold {key} changed {MAX_SWAP_ATTEMPTS} times while it was being changed"
        )

    async def place_cool_down(self, cool_down: CoolDown) -> None:
        """Make a scope wait; a longer wait that already runs stays."""
        for _ in range(MAX_SWAP_ATTEMPTS):
            found = await self._client.call("HGET", self._keys.cool_downs, cool_down.scope) or b""
            standing = _decode_cool_down_or_none(found) if found else None
            if standing is not None and standing.until >= cool_down.until:
                return
            value = encode(cool_down)
            if await self._scripts.swap(self._keys.cool_downs, cool_down.scope, found, value):
                return

    async def remove_expired_cool_downs(self, now: float) -> None:
        """Remove cool-downs that have run out."""
        standing: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.cool_downs)
        for field, found in standing.items():
            cool = _decode_cool_down_or_none(found)
            if cool is None or cool.until <= now:
                await self._scripts.swap(self._keys.cool_downs, field.decode(), found, b"")

    async def remove_proved_open(self, now: float) -> None:
        """Remove opening gates that have proved open and are too quiet to get there by counting."""
        for hold in await self.list_all():
            if has_proved_open(hold, now):
                await self.change(hold.key, lambda found: _unless_proved_open(found, now))

    # Targets without async mode.

    async def remember_sync_only(self, lane: Lane, until: float) -> None:
        """Remember that a lane's target has no async mode."""
        await self._client.call("ZADD", self._keys.sync_only, "GT", until, str(lane))

    async def remove_expired_sync_only(self, now: float) -> None:
        """Forget the memories that have run out."""
        await self._client.call("ZREMRANGEBYSCORE", self._keys.sync_only, "-inf", now)


def _unless_proved_open(hold: Hold | None, now: float) -> Hold | None:
    return None if hold is None or has_proved_open(hold, now) else hold


def _encode_unique(hold: Hold) -> bytes:
    """The hold, unlike any other write of it: two equal changes at once count as two."""
    return encode(msgspec.to_builtins(hold) | {"mark": secrets.token_hex(4)})


def _decode_hold_or_none(data: bytes) -> Hold | None:
    try:
        return decode_hold(data)
    except DECODE_ERRORS:
        return None


def _decode_cool_down_or_none(data: bytes) -> CoolDown | None:
    try:
        return decode_cool_down(data)
    except DECODE_ERRORS:
        return None
