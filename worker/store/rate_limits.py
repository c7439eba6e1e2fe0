"""Rate-limit buckets, shared by all workers."""

from collections.abc import Callable
from typing import Final

import msgspec

from jobs.lanes import Scope
from jobs.rate_limits import RateLimitBucket
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode_unique
from worker.store.keys import Keys
from worker.store.scripts import Scripts

_bucket: Final = msgspec.json.Decoder(RateLimitBucket)

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
        return {Scope(route.decode()): _decode_or_new(data) for route, data in found.items()}

    async def change(
        self, route: Scope, transform: Callable[[RateLimitBucket], RateLimitBucket]
    ) -> RateLimitBucket:
        """Write what `transform` makes of a route's bucket; returns it.

        Raises RuntimeError after too many lost races.
        """
        return await self._scripts.update_field(
            self._keys.rate_limits,
            route,
            decode=_decode_or_new,
            transform=transform,
            encode=encode_unique,
        )

    async def remove_stale(self, before: float) -> None:
        """Remove buckets that have had no report and no grant since."""
        for route, bucket in (await self.buckets()).items():
            if max(bucket.reported_at, bucket.granted_at) < before:
                await self._client.call("HDEL", self._keys.rate_limits, route)


def _decode_or_new(data: bytes) -> RateLimitBucket:
    """A bucket; a new one if it is absent or unreadable."""
    try:
        return _bucket.decode(data) if data else NEW_BUCKET
    except DECODE_ERRORS:
        return NEW_BUCKET
