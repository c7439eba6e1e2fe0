"""Rate-limit buckets, shared by all workers."""

from collections.abc import Callable
from typing import Final

from jobs.lanes import Scope
from jobs.rate_limits import RateLimitBucket
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode_unique, without_mark
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import Scripts

_bucket: Final = RecordSchema(RateLimitBucket, UNCHANGED)

NEW_BUCKET: Final = RateLimitBucket()


class RateLimitStore:
    """The rate-limit bucket of each route."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def buckets(self) -> dict[Scope, RateLimitBucket]:
        """Route → its bucket; a route without requests has none."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.rate_limits)
        return {Scope(route.decode()): _known(data) or NEW_BUCKET for route, data in found.items()}

    async def change(
        self, route: Scope, transform: Callable[[RateLimitBucket], RateLimitBucket]
    ) -> RateLimitBucket:
        """Write what `transform` makes of a route's bucket; returns it.

        The bucket of a newer version is not written: one request at a time passes, as where no
        limit is known. Raises RuntimeError after too many lost races.
        """
        try:
            return await self._scripts.update_field(
                self._keys.rate_limits,
                route,
                decode=_decode_or_new,
                transform=transform,
                encode=encode_unique,
            )
        except NewerSchema:
            return transform(NEW_BUCKET)

    async def remove_stale(self, before: float) -> None:
        """Remove buckets that have had no report and no grant since."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.rate_limits)
        for route, data in found.items():
            bucket = _known(data)
            if bucket and max(bucket.reported_at, bucket.granted_at) < before:
                await self._client.call("HDEL", self._keys.rate_limits, route)


def _decode_or_new(data: bytes) -> RateLimitBucket:
    """A bucket; a new one if it is absent or unreadable. Raises `NewerSchema`."""
    try:
        return _bucket.decode(without_mark(data)) if data else NEW_BUCKET
    except DECODE_ERRORS:
        return NEW_BUCKET


def _known(data: bytes) -> RateLimitBucket | None:
    """A bucket as `_decode_or_new` reads it; None for one of a newer version."""
    try:
        return _decode_or_new(data)
    except NewerSchema:
        return None
