"""The record of what people did: an append-only stream."""

from typing import Any

from worker.store.client import Client
from worker.store.keys import Keys


class Audit:
    """Acts of people: who, when, what, on what, with which note, and how many jobs it touched."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def record(self, *, at: float, by: str, act: str, on: str, note: str, jobs: int) -> None:
        """Append one act."""
        facts = ("at", at, "by", by, "act", act, "on", on, "note", note, "jobs", jobs)
        await self._client.call("XADD", self._keys.audit, "*", *facts)

    async def latest(self, limit: int) -> list[dict[str, Any]]:
        """The latest acts, newest first."""
        rows = await self._client.call("XREVRANGE", self._keys.audit, "+", "-", "COUNT", limit)
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            | {"id": entry.decode()}
            for entry, fields in rows
        ]
