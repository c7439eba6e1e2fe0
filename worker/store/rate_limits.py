"""The buckets of rate limits, shared by all workers."""

import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from jobs.lanes import Scope
from jobs.rate_limits import RateLimitBucket
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.scripts import Scripts

MAX_SWAP_ATTEMPTS: Final = 50
"""Only other processes race for a bucket, a few times a second each."""

_bucket: Final = msgspec.json.Decoder(RateLimitBucket)

NEW_BUCKET: Final = RateLimitBucket()


class RateLimitStore:
    """What is known of every route's window."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def buckets(self) -> dict[Scope, RateLimitBucket]:
        """Route → its bucket; routes nobody has used are not among them."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.rate_limits)
        return {Scope(route.decode()): _decode_or_new(data) for route, data in found.items()}

    async def change(
        self, route: Scope, transform: Callable[[RateLimitBucket], RateLimitBucket]
    ) -> RateLimitBucket:
        """Apply a decision to a route's bucket, against lost races; returns what then stands."""
        for _ in range(MAX_SWAP_ATTEMPTS):
            found: bytes = await self._client.call("HGET", self._keys.rate_limits, route) or b""
            standing = _decode_or_new(found)
            after = transform(standing)
            if after == standing:
                return after
            if await self._scripts.swap(
                self._keys.rate_limits, route, found, _encode_unique(after)
            ):
                return after
        raise RuntimeError(f"the quota of {route} changed {MAX_SWAP_ATTEMPTS} times meanwhile")

    async def remove_stale(self, before: float) -> None:
        """Remove buckets of which nothing was heard since."""
        for route, bucket in (await self.buckets()).items():
            if max(bucket.reported_at, bucket.granted_at) < before:
                await self._client.call("HDEL", self._keys.rate_limits, route)


def _encode_unique(bucket: RateLimitBucket) -> bytes:
    """The bucket, unlike any other write of it: two equal grants at once count as two."""
    return encode(msgspec.to_builtins(bucket) | {"mark": secrets.token_hex(4)})


def _decode_or_new(data: bytes) -> RateLimitBucket:
    """A bucket; one that nobody can read is as good as new."""
    try:
        return _bucket.decode(data) if data else NEW_BUCKET
    except DECODE_ERRORS:
        return NEW_BUCKET
