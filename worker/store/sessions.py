"""Browser sessions in Redis, by the digest of their secret; an unused one expires."""

from worker.store.client import Client, texts
from worker.store.keys import Keys


class SessionStore:
    """The sessions of one namespace; the secrets themselves are not stored."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def open(
        self, digest: str, data: bytes, *, ttl_s: int, now: float, ends_at: float
    ) -> None:
        """Store a new session that lives for `ttl_s`; `ends_at` in Unix seconds, at the latest."""
        listed = self._keys.sessions
        await self._client.many(
            [
                ("SET", self._keys.session(digest), data, "EX", ttl_s),
                ("ZADD", listed, ends_at, digest),
                ("ZREMRANGEBYSCORE", listed, "-inf", now),
            ]
        )

    async def find(self, digest: str) -> tuple[bytes | None, int]:
        """The data of a live session and the seconds it has left; None if there is none."""
        key = self._keys.session(digest)
        data, left_s = await self._client.many([("GET", key), ("TTL", key)])
        return data, int(left_s)

    async def renew(self, digest: str, ttl_s: int) -> None:
        """Let a session live for so many seconds from now on."""
        await self._client.call("EXPIRE", self._keys.session(digest), ttl_s)

    async def list_all(self) -> list[tuple[str, bytes, int]]:
        """Digest, data and seconds left of each live session, the one that ends first at first."""
        digests = texts(await self._client.call("ZRANGE", self._keys.sessions, 0, -1))
        keys = [self._keys.session(digest) for digest in digests]
        found = await self._client.many([("GET", key) for key in keys])
        left = await self._client.many([("TTL", key) for key in keys])
        return [
            (digest, data, int(left_s))
            for digest, data, left_s in zip(digests, found, left, strict=True)
            if data is not None
        ]

    async def close(self, digest: str) -> bool:
        """Remove a session; returns whether it was there."""
        removed, _ = await self._client.many(
            [("DEL", self._keys.session(digest)), ("ZREM", self._keys.sessions, digest)]
        )
        return bool(removed)
