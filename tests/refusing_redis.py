"""A real Redis that refuses, one way at a time, for the programs of one ACL user."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from arq import ArqRedis
from redis.exceptions import RedisError

from config.settings import Settings
from tests.engine.live_system import wait_until
from worker.redis.connect import connect
from worker.store.client import Client
from worker.store.refusals import RefusalCode

USER = "refused"
PASSWORD = "secret-of-refused"
NO_PRIMARY = ("127.0.0.1", "1")

Command = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class RefusingRedis:
    """The server, as its administrator sees it."""

    admin: Client
    url: str
    """With the user and the password of the programs."""

    async def run(self, *commands: Command) -> None:
        for command in commands:
            await self.admin.call(*command)

    async def disconnect(self) -> None:
        """Close every connection of the programs."""
        await self.admin.call("CLIENT KILL", "USER", USER)


@asynccontextmanager
async def refusing_redis(url: str) -> AsyncGenerator[RefusingRedis]:
    """The server of a URL, with a user that has all rights; the user is removed afterwards."""
    redis: ArqRedis = connect(Settings(), url)
    admin, address = Client(redis), urlsplit(url)
    await admin.call("ACL SETUSER", USER, "reset", "on", f">{PASSWORD}", "+@all", "~*", "&*")
    netloc = f"{USER}:{PASSWORD}@{address.netloc}"
    try:
        yield RefusingRedis(admin, address._replace(netloc=netloc).geturl())
    finally:
        await admin.call("ACL DELUSER", USER)
        await redis.aclose(close_connection_pool=True)


@pytest.fixture
async def server(redis: ArqRedis, redis_url: str) -> AsyncGenerator[RefusingRedis]:
    """The server of the test run, for tests that have its programs refused."""
    del redis  # it looks for keys that are left
    async with refusing_redis(redis_url) as opened:
        yield opened


async def _fail_snapshot(server: RefusingRedis) -> None:
    """Let a snapshot fail, which makes Redis refuse writes while snapshots are configured."""
    await server.run(("CONFIG SET", "save", "3600 1"))
    snapshot = _snapshot(await server.admin.call("CONFIG GET", "dir"))
    snapshot.unlink(missing_ok=True)
    snapshot.mkdir()
    await _save(server, "err")


async def _save_again(server: RefusingRedis) -> None:
    await server.run(("CONFIG SET", "save", ""))
    _snapshot(await server.admin.call("CONFIG GET", "dir")).rmdir()
    await _save(server, "ok")


def _snapshot(config: dict[str, str]) -> Path:
    """Where the snapshot is renamed to; that fails for a folder."""
    return Path(config["dir"]) / "dump.rdb"


async def _save(server: RefusingRedis, status: str) -> None:
    await server.run(("BGSAVE",))

    async def has_ended() -> bool:
        info = await server.admin.call("INFO", "persistence")
        return bool(info["rdb_last_bgsave_status"] == status)

    await wait_until(has_ended, f"a snapshot that ends {status}")


@asynccontextmanager
async def _busy(server: RefusingRedis, url: str) -> AsyncGenerator[None]:
    await server.run(("CONFIG SET", "lua-time-limit", 10))
    other: ArqRedis = connect(Settings(), url, fail_fast=True)
    loop = asyncio.create_task(_swallow(Client(other).call("EVAL", "while true do end", 0)))

    async def is_busy() -> bool:
        try:
            await server.run(("PING",))
        except RedisError:
            return True
        return False

    async def is_free() -> bool:
        return not await is_busy()

    try:
        await wait_until(is_busy, "a busy server")
        yield
    finally:
        await server.run(("SCRIPT KILL",))
        # The script ends some time after the answer; until then the server refuses the rest.
        await wait_until(is_free, "a server that is not busy")
        await loop
        await server.run(("CONFIG SET", "lua-time-limit", 5000))
        await other.aclose(close_connection_pool=True)


async def _swallow(call: Awaitable[object]) -> None:
    with suppress(RedisError):
        await call


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way to refuse."""

    code: RefusalCode
    begin: tuple[Command, ...] = ()
    end: tuple[Command, ...] = ()
    disconnects: bool = False
    """It refuses connections, so those that exist are closed."""
    prepare: Callable[[RefusingRedis], Awaitable[None]] | None = None
    restore: Callable[[RefusingRedis], Awaitable[None]] | None = None


_PRIMARY: Command = ("REPLICAOF", "NO", "ONE")
_RIGHTS: Command = ("ACL SETUSER", USER, "on", "+@all", "&*")

REFUSALS: dict[str, Refusal] = {
    "noreplicas": Refusal(
        RefusalCode.NOREPLICAS,
        (("CONFIG SET", "min-replicas-to-write", 1),),
        (("CONFIG SET", "min-replicas-to-write", 0),),
    ),
    "oom": Refusal(
        RefusalCode.OOM, (("CONFIG SET", "maxmemory", 1),), (("CONFIG SET", "maxmemory", 0),)
    ),
    "misconf": Refusal(RefusalCode.MISCONF, prepare=_fail_snapshot, restore=_save_again),
    "readonly": Refusal(RefusalCode.READONLY, (("REPLICAOF", *NO_PRIMARY),), (_PRIMARY,)),
    "masterdown": Refusal(
        RefusalCode.MASTERDOWN,
        (("CONFIG SET", "replica-serve-stale-data", "no"), ("REPLICAOF", *NO_PRIMARY)),
        (_PRIMARY, ("CONFIG SET", "replica-serve-stale-data", "yes")),
    ),
    "no right to write": Refusal(RefusalCode.NOPERM, (("ACL SETUSER", USER, "-hset"),), (_RIGHTS,)),
    "no right to run scripts": Refusal(
        RefusalCode.NOPERM, (("ACL SETUSER", USER, "-evalsha"),), (_RIGHTS,)
    ),
    "wrongpass": Refusal(
        RefusalCode.WRONGPASS, (("ACL SETUSER", USER, "off"),), (_RIGHTS,), disconnects=True
    ),
    "maxclients": Refusal(
        RefusalCode.MAXCLIENTS,
        (("CONFIG SET", "maxclients", 1),),
        (("CONFIG SET", "maxclients", 10_000),),
        disconnects=True,
    ),
}
"""Ways to refuse that end with a command. `busy` is beside them, since it takes a client."""


@asynccontextmanager
async def refused(server: RefusingRedis, name: str, url: str) -> AsyncGenerator[RefusalCode]:
    """Let the server refuse; the code of the refusal."""
    if name == "busy":
        async with _busy(server, url):
            yield RefusalCode.BUSY
        return
    refusal = REFUSALS[name]
    if refusal.prepare is not None:
        await refusal.prepare(server)
    await server.run(*refusal.begin)
    if refusal.disconnects:
        await server.disconnect()
    try:
        yield refusal.code
    finally:
        await server.run(*refusal.end)
        if refusal.restore is not None:
            await refusal.restore(server)
