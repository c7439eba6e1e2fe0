"""The Redis server of a test run."""

from typing import Final

from arq import ArqRedis

from config.settings import Settings
from worker.redis.connect import connect
from worker.store.client import Client

COMPACT_HASHES: Final = (
    *("--hash-max-ziplist-entries", "32"),
    *("--hash-max-ziplist-value", "2048"),
)
"""As `up` starts it: the hash of a job in one piece of memory."""


async def set_fsync(url: str, policy: str) -> None:
    """Set when the server waits for the disk: `always` after each write, or `no`."""
    client: ArqRedis = connect(Settings(), url)
    await Client(client).call("CONFIG SET", "appendfsync", policy)
    await client.aclose(close_connection_pool=True)
