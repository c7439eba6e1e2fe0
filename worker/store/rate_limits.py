"""The buckets of rate limits, shared by all workers."""

import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from jobs.lanes import Scope
from jobs.rate_limits import Bucket
from worker.store.client import Client
from worker.store.codec import BROKEN, encode
from worker.store.keys import Keys
from worker.store.scripts import Scripts

SWAP_TRIES: Final = 50
"""Only other processes race for a bucket, a few times a second each."""

_bucket: Final = msgspec.json.Decoder(Bucket)

NEW: Final = Bucket()


class QuotaStore:
    """What is known of every route's window."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def buckets(self) -> dict[Scope, Bucket]:
        """Route → its bucket; routes nobody has used are not among them."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.quota)
        return {Scope(route.decode()): _read(data) for route, data in found.items()}

    async def change(self, route: Scope, decide: Callable[[Bucket], Bucket]) -> Bucket:
        """Apply a decision to a route's bucket, against lost races; returns what then stands."""
        for _ in range(SWAP_TRIES):
            found: bytes = await self._client.call("HGET", self._keys.quota, route) or b""
            standing = _read(found)
            after = decide(standing)
            if after == standing:
                return after
            if await self._scripts.swap(self._keys.quota, route, found, _marked(after)):
                return after
        raise RuntimeError(f"the quota of {route} changed {SWAP_TRIES} times meanwhile")

    async def forget_silent(self, before: float) -> None:
        """Remove buckets of which nothing was heard since."""
        for route, bucket in (await self.buckets()).items():
            if max(bucket.seen_at, bucket.granted_at) < before:
                await self._client.call("HDEL", self._keys.quota, route)


def _marked(bucket: Bucket) -> bytes:
    """The bucket, unlike any other write of it: two equal grants at once count as two."""
    return encode(msgspec.to_builtins(bucket) | {"mark": secrets.token_hex(4)})


def _read(data: bytes) -> Bucket:
    """A bucket; one that nobody can read is as good as new."""
    try:
        return _bucket.decode(data) if data else NEW
    except BROKEN:
        return NEW
