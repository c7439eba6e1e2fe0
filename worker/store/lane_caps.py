"""Concurrency caps that operators set: one hash, each field a scope with its record.

Workers read them with the holds (`HoldStore.gates`), and of each record `cap` alone.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec

from jobs.lane_caps import MAX_CAP, LaneCap
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerRecordError, NewerSchema, RecordSchema
from worker.store.scripts import Scripts
from worker.store.unreadable_gates import log_unreadable

MAX_LANE_CAPS: Final = 200
"""Caps at once: every worker reads them all, with the holds."""

_cap: Final = RecordSchema(LaneCap, UNCHANGED)


class _Limit(msgspec.Struct):
    """What every schema has."""

    cap: Annotated[int, msgspec.Meta(ge=1, le=MAX_CAP)]


_limit: Final = msgspec.json.Decoder(_Limit)


class LaneCapStore:
    """The caps of one namespace that operators set."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def list_all(self) -> list[LaneCap]:
        """Every cap that can be read, by scope."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.lane_caps)
        limits = decode_caps(found)
        return [_shown(scope, found[scope.encode()], limits[scope]) for scope in sorted(limits)]

    async def unreadable(self) -> list[str]:
        """The scopes whose record cannot be read: the settings apply."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.lane_caps)
        names = {name.decode("utf-8", "replace") for name in found}
        return sorted(names - decode_caps(found).keys())

    async def change(self, scope: str, transform: Callable[[bool], LaneCap | None]) -> None:
        """Write the cap that `transform` makes (None: there is none); it gets whether one is set.

        A record that cannot be read is one. Raises `NewerRecordError`.
        """

        def decode(data: bytes) -> tuple[bool, LaneCap | None]:
            try:
                return bool(data), _cap.decode(data) if data else None
            except NewerSchema as newer:
                raise NewerRecordError("the cap of", scope, str(newer)) from None
            except DECODE_ERRORS:
                return True, None

        await self._scripts.update_field(
            self._keys.lane_caps,
            scope,
            decode=decode,
            transform=lambda before: ((after := transform(before[0])) is not None, after),
            encode=lambda after: b"" if after[1] is None else encode(after[1]),
        )


def decode_caps(found: Mapping[bytes, bytes]) -> dict[str, int]:
    """Scope → cap, of those that can be read; also of newer versions."""
    caps: dict[str, int] = {}
    for field, data in found.items():
        try:
            caps[field.decode()] = _limit.decode(data).cap
        except DECODE_ERRORS as error:
            log_unreadable("lane_cap", field, error, "the settings apply to its scope")
    return caps


def _shown(scope: str, data: bytes, cap: int) -> LaneCap:
    """A record; of a newer one, what is known of each."""
    try:
        return _cap.decode(data)
    except (NewerSchema, *DECODE_ERRORS):
        return LaneCap(scope=scope, cap=cap, set_at=0.0, set_by="", note="")
