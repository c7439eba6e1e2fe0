"""A primary, a replica and a Sentinel, for a failover that may lose what was not yet replicated."""

import asyncio
from pathlib import Path

from tests.chaos.killable_redis import HOST, KillableRedis
from tests.engine.live_system import wait_until

SERVICE = "knouds"
DOWN_AFTER_MS = 700
"""A failover begins after the primary was silent for this long; other times derive from it."""

CONFIG = """\
sentinel monitor {service} {host} {port} 1
sentinel down-after-milliseconds {service} {down_after}
sentinel failover-timeout {service} 4000
sentinel parallel-syncs {service} 1
"""

READY_WITHIN_S = 20.0


class Sentinels:
    """Two servers and the Sentinel that watches them; one failover."""

    def __init__(self, folder: Path, binary: Path | None = None) -> None:
        self.primary = KillableRedis(folder / "primary", binary=binary)
        self.replica = KillableRedis(folder / "replica", binary=binary)
        self._sentinel = KillableRedis(folder / "sentinel", binary=binary)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{HOST}:{self._sentinel.port}/{SERVICE}/0"

    async def start(self) -> None:
        """Start all three, and wait until they have connected."""
        await self.primary.start("--repl-diskless-sync-delay", "0")
        await self.replica.start("--replicaof", HOST, str(self.primary.port))
        await wait_until(self._is_replicated, "the replica follows", READY_WITHIN_S)
        await self._sentinel.start_sentinel(
            CONFIG.format(
                service=SERVICE, host=HOST, port=self.primary.port, down_after=DOWN_AFTER_MS
            )
        )
        await wait_until(self._is_watched, "the sentinel knows the replica", READY_WITHIN_S)

    async def kill(self) -> None:
        """SIGKILL all three."""
        servers = (self._sentinel, self.replica, self.primary)
        await asyncio.gather(*(server.kill() for server in servers))

    async def cut_replication(self) -> None:
        """Stop the replication: later writes are lost with the primary.

        It is given a password that the primary does not know, and has to introduce itself anew.
        """
        await self.replica.command("CONFIG SET masterauth unknown")
        await self.primary.query("CLIENT KILL TYPE replica")
        await wait_until(self._is_alone, "the replica is cut off")

    async def until_promoted(self) -> None:
        """Wait until the Sentinel reports the replica as the primary."""
        await wait_until(self._is_promoted, "the replica is promoted", READY_WITHIN_S)

    async def _is_replicated(self) -> bool:
        return await self.primary.query("WAIT 1 100") == b":1"

    async def _is_alone(self) -> bool:
        return await self.primary.query("WAIT 1 1") == b":0"

    async def _is_watched(self) -> bool:
        return await self._sentinel.query("SENTINEL CKQUORUM", SERVICE) != b"" and (
            await self._sentinel.query("SENTINEL REPLICAS", SERVICE) == b"*1"
        )

    async def _is_promoted(self) -> bool:
        # The first line of ROLE is only a length; a write is what tells.
        return await self.replica.query("SET promoted 1 PX 1") == b"+OK"
