"""The Redis of a cell: one server, one behind an address that can move, or one under Sentinel."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.chaos.killable_redis import HOST, KillableRedis, free_port
from tests.chaos.sentinels import Sentinels
from tests.engine.live_system import wait_until
from tests.redis_matrix.switchable_proxy import SwitchableProxy

SNAPSHOTS = ("--save", "3600", "1000000")
"""Snapshots are configured, so that one that fails stops the writes, but not due by themselves."""


REPLICA_WITHIN_S = 40.0


class SetupKind(StrEnum):
    """How the servers are arranged, in words of the table."""

    SINGLE = "one server"
    REPLICA = "primary and replica behind one address"
    SENTINEL = "primary, replica and Sentinel"


@dataclass
class RedisSetup:
    """The servers of a cell, and what an event can do to them."""

    url: str
    primary: KillableRedis
    replica: KillableRedis | None = None
    sentinels: Sentinels | None = None
    proxy: SwitchableProxy | None = None

    async def move(self) -> None:
        """Let primary and replica change roles, as planned, and the address lead to the new one."""
        assert self.replica is not None
        assert self.proxy is not None
        await self.primary.command("FAILOVER TO", HOST, self.replica.port, "TIMEOUT 5000")

        async def has_changed() -> bool:
            assert self.replica is not None
            return await self.replica.query("SET moved 1 PX 1") == b"+OK"

        await wait_until(has_changed, "the replica is the primary")
        self.proxy.target = self.replica.port

    async def restore_replica(self) -> None:
        """Start a killed primary as the replica of the promoted one, and wait until one follows.

        A frozen one becomes a replica by the Sentinel, some seconds after it resumed.
        """
        assert self.replica is not None
        assert self.sentinels is not None
        await self.sentinels.until_named()  # else it would demote the promoted one again
        if not await self.primary.query("PING"):
            await self.primary.start("--replicaof", HOST, str(self.replica.port))

        async def is_replicated() -> bool:
            assert self.replica is not None
            return await self.replica.query("WAIT 1 100") == b":1"

        await wait_until(is_replicated, "the new primary has a replica", REPLICA_WITHIN_S)

    def save_copy(self) -> Path:
        """Copy the server's files as they are now."""
        copy = self.primary.folder.with_name("older")
        shutil.copytree(self.primary.folder, copy)
        return copy

    async def restart_from(self, copy: Path) -> None:
        """Kill the server, and start it with older files."""
        await self.primary.kill()
        shutil.rmtree(self.primary.folder)
        shutil.copytree(copy, self.primary.folder)
        await self.primary.start(*SNAPSHOTS)


@asynccontextmanager
async def redis_setup(kind: SetupKind, folder: Path, binary: Path) -> AsyncGenerator[RedisSetup]:
    """Start the servers; kill them at the end."""
    match kind:
        case SetupKind.SINGLE:
            server = KillableRedis(folder / "server", binary=binary)
            try:
                await server.start(*SNAPSHOTS)
                yield RedisSetup(server.url, server)
            finally:
                await server.kill()
        case SetupKind.REPLICA:
            async with _behind_one_address(folder, binary) as setup:
                yield setup
        case SetupKind.SENTINEL:
            sentinels = Sentinels(folder, binary)
            try:
                await sentinels.start()
                yield RedisSetup(sentinels.url, sentinels.primary, sentinels.replica, sentinels)
            finally:
                await sentinels.kill()


@asynccontextmanager
async def _behind_one_address(folder: Path, binary: Path) -> AsyncGenerator[RedisSetup]:
    primary = KillableRedis(folder / "primary", binary=binary)
    replica = KillableRedis(folder / "replica", binary=binary)

    async def is_replicated() -> bool:
        return await primary.query("WAIT 1 100") == b":1"

    try:
        await primary.start("--repl-diskless-sync-delay", "0")
        await replica.start("--replicaof", HOST, str(primary.port))
        await wait_until(is_replicated, "the replica follows", 20)
        async with SwitchableProxy(primary.port) as proxy:
            yield RedisSetup(f"redis://{HOST}:{proxy.port}/0", primary, replica, proxy=proxy)
    finally:
        await primary.kill()
        await replica.kill()


def unused_address() -> tuple[str, int]:
    """Where no server listens."""
    return HOST, free_port()
