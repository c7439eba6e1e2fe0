"""The registers of lanes, groups, and budgets that jobs wait for."""

from typing import Final

from worker.store.client import Client, texts
from worker.store.keys import Keys
from worker.store.scripts import Scripts

CHUNK: Final = 1_000
"""Sizes read in one round trip."""


class Registers:
    """The registers of one namespace; admission removes a lane as soon as it finds it empty."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def remove_empty(self) -> None:
        """Remove every name without jobs, if it still has none."""
        for kind, register in self._keys.registers.items():
            names = texts(await self._client.call("ZRANGE", register, 0, -1))
            for first in range(0, len(names), CHUNK):
                chunk = names[first : first + CHUNK]
                keys = [self._keys.index(kind, name) for name in chunk]
                sizes = await self._client.many([("ZCARD", key) for key in keys])
                for name, key, size in zip(chunk, keys, sizes, strict=True):
                    if not size:
                        await self._scripts.retire(register, name, [key])
