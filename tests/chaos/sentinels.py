"""A primary, replicas and Sentinels, for a failover that may lose what was not yet replicated."""

import asyncio
from pathlib import Path

from tests.chaos.killable_redis import HOST, KillableRedis
from tests.engine.live_system import wait_until

SERVICE = "knouds"
DOWN_AFTER_MS = 700
"""A failover begins after the primary was silent for this long; other times derive from it."""

CONFIG = """\
sentinel monitor {service} {host} {port} {quorum}
sentinel down-after-milliseconds {service} {down_after}
sentinel failover-timeout {service} 4000
sentinel parallel-syncs {service} 1
"""

READY_WITHIN_S = 20.0


class Sentinels:
    """A primary, its replicas, and the Sentinels that watch them; one failover."""

    def __init__(
        self, folder: Path, binary: Path | None = None, *, replicas: int = 1, sentinels: int = 1
    ) -> None:
        def server(name: str) -> KillableRedis:
            return KillableRedis(folder / name, binary=binary)

        self.primary = server("primary")
        self.replicas = [server(f"replica{n}") for n in range(replicas)]
        self.replica = self.replicas[0]
        self._sentinels = [server(f"sentinel{n}") for n in range(sentinels)]

    @property
    def url(self) -> str:
        nodes = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self._sentinels)
        return f"redis+sentinel://{nodes}/{SERVICE}/0"

    async def start(self) -> None:
        """Start all, and wait until they have connected."""
        await self.primary.start("--repl-diskless-sync-delay", "0")
        for replica in self.replicas:
            await replica.start("--replicaof", HOST, str(self.primary.port))
        await wait_until(self._is_replicated, "the replicas follow", READY_WITHIN_S)
        config = CONFIG.format(
            service=SERVICE,
            host=HOST,
            port=self.primary.port,
            quorum=len(self._sentinels) // 2 + 1,
            down_after=DOWN_AFTER_MS,
        )
        await asyncio.gather(*(sentinel.start_sentinel(config) for sentinel in self._sentinels))
        await wait_until(self._is_watched, "the Sentinels know each other", READY_WITHIN_S)

    async def kill(self) -> None:
        """SIGKILL all."""
        servers = (*self._sentinels, *self.replicas, self.primary)
        await asyncio.gather(*(server.kill() for server in servers))

    async def cut_replication(self) -> None:
        """Stop the replication: later writes are lost with the primary.

        It is given a password that the primary does not know, and has to introduce itself anew.
        """
        await self.replica.command("CONFIG SET masterauth unknown")
        await self.primary.query("CLIENT KILL TYPE replica")
        await wait_until(self._is_alone, "the replica is cut off")

    async def until_promoted(self) -> None:
        """Wait until a replica is the primary; `replica` is then that one."""
        await wait_until(self._is_promoted, "the replica is promoted", READY_WITHIN_S)

    async def until_named(self) -> None:
        """Wait until every Sentinel names the promoted replica: the failover has ended."""
        await wait_until(self._is_named, "the Sentinels name the new primary", READY_WITHIN_S)

    async def until_demoted(self, within_s: float) -> None:
        """Wait until the former primary is a replica."""
        await wait_until(self._is_demoted, "the former primary is a replica", within_s)

    async def _is_replicated(self) -> bool:
        count = len(self.replicas)
        return await self.primary.query(f"WAIT {count} 100") == b":%d" % count

    async def _is_alone(self) -> bool:
        return await self.primary.query("WAIT 1 1") == b":0"

    async def _is_watched(self) -> bool:
        """Whether each Sentinel knows every replica and every other Sentinel."""
        replicas, others = len(self.replicas), len(self._sentinels) - 1
        for sentinel in self._sentinels:
            known = (
                await sentinel.query("SENTINEL REPLICAS", SERVICE),
                await sentinel.query("SENTINEL SENTINELS", SERVICE),
            )
            if known != (b"*%d" % replicas, b"*%d" % others):
                return False
        return True

    async def _is_promoted(self) -> bool:
        # The first line of ROLE is only a length; a write is what tells.
        for replica in self.replicas:
            if await replica.query("SET promoted 1 PX 1") == b"+OK":
                self.replica = replica
                return True
        return False

    async def _is_named(self) -> bool:
        address = b"address=%s:%d," % (HOST.encode(), self.replica.port)
        facts = [await sentinel.query("INFO sentinel") for sentinel in self._sentinels]
        return all(address in found for found in facts)

    async def _is_demoted(self) -> bool:
        return b"role:slave" in await self.primary.query("INFO replication")
