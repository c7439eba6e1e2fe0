"""Browser sessions in Redis, by the digest of their secret; an unused one expires."""

from typing import Final

from worker.store.client import Client
from worker.store.keys import Keys

RENEW_AFTER_S: Final = 300.0
"""A session is renewed when it has lost so much of its lifetime, so few reads write."""


class SessionStore:
    """The sessions of one namespace; the secrets themselves are not stored."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def open(self, digest: str, data: bytes, ttl_s: int) -> None:
        """Store a new session."""
        await self._client.call("SET", self._keys.session(digest), data, "EX", ttl_s)

    async def find(self, digest: str, ttl_s: int) -> bytes | None:
        """The data of a live session, whose lifetime starts again; None if there is none."""
        key = self._keys.session(digest)
        data, left_s = await self._client.many([("GET", key), ("TTL", key)])
        if data is not None and left_s < ttl_s - RENEW_AFTER_S:
            await self._client.call("EXPIRE", key, ttl_s)
        found: bytes | None = data
        return found

    async def close(self, digest: str) -> None:
        """Remove a session."""
        await self._client.call("DEL", self._keys.session(digest))
