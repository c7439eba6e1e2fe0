"""The events of the table: what happens to Redis, or to a clock, while jobs run.

Each returns the moment since which the server can serve, in monotonic seconds.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tests.chaos.killable_redis import HOST, KillableRedis
from tests.redis_matrix.redis_setups import SNAPSHOTS, RedisSetup, SetupKind, unused_address

LASTS_S: Final = 6.0
"""How long a server refuses, or does not answer."""
DOWN_S: Final = 1.5
FROZEN_S: Final = 4.0
"""How long a primary is frozen: the Sentinel promotes its replica meanwhile."""
BETWEEN_S: Final = 2.0
"""Between the copy of the state and the return to it."""

CAN_SERVE_WITHIN_S: Final = 5.0
HOUR_S: Final = 3600

WAIT_SETTINGS: Final = {"KNOUDS_REDIS_WAIT_REPLICAS": "1", "KNOUDS_REDIS_WAIT_MS": "500"}

Event = Callable[[RedisSetup], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class MatrixEvent:
    """A row of the table."""

    name: str
    run: Event
    setup: SetupKind = SetupKind.SINGLE
    needs: str = ""
    """Settings without which a promise does not hold, in words of the table."""
    settings: tuple[tuple[str, str], ...] = ()
    clock_s: int = 0
    """How far the clock of one of the two workers is off."""
    is_quick: bool = False
    """Whether it is part of the short form."""


async def _kill(setup: RedisSetup) -> float:
    await setup.primary.kill()
    await asyncio.sleep(DOWN_S)
    await setup.primary.start(*SNAPSHOTS)
    return time.monotonic()


async def _freeze(setup: RedisSetup) -> float:
    setup.primary.freeze()
    await asyncio.sleep(LASTS_S)
    setup.primary.thaw()
    return time.monotonic()


async def _promote_after_kill(setup: RedisSetup) -> float:
    assert setup.sentinels is not None
    await setup.primary.kill()
    await setup.sentinels.until_promoted()
    return time.monotonic()


async def _promote_after_freeze(setup: RedisSetup) -> float:
    assert setup.sentinels is not None
    setup.primary.freeze()
    thaw_at = time.monotonic() + FROZEN_S
    await setup.sentinels.until_promoted()
    promoted_at = time.monotonic()
    await asyncio.sleep(max(0.0, thaw_at - promoted_at))
    setup.primary.thaw()
    return promoted_at


def _replicated(promote: Event) -> Event:
    """The same, until the new primary has a replica: with `WAIT` it cannot serve without one."""

    async def run(setup: RedisSetup) -> float:
        await promote(setup)
        await setup.restore_replica()
        return time.monotonic()

    return run


async def _move(setup: RedisSetup) -> float:
    await setup.move()
    return time.monotonic()


async def _read_only(setup: RedisSetup) -> float:
    await setup.primary.command("REPLICAOF", *unused_address())
    await asyncio.sleep(LASTS_S)
    await setup.primary.command("REPLICAOF NO ONE")
    return time.monotonic()


def _configured(setting: str, during: str, after: str) -> Event:
    async def run(setup: RedisSetup) -> float:
        await setup.primary.command("CONFIG SET", setting, during)
        await asyncio.sleep(LASTS_S)
        await setup.primary.command("CONFIG SET", setting, after)
        return time.monotonic()

    return run


async def _disk_full(setup: RedisSetup) -> float:
    """A snapshot cannot be written: a folder has its name."""
    (setup.primary.folder / "dump.rdb").mkdir()
    await _snapshot(setup.primary, b"err")
    await asyncio.sleep(LASTS_S)
    (setup.primary.folder / "dump.rdb").rmdir()
    await _snapshot(setup.primary, b"ok")
    return time.monotonic()


async def _snapshot(server: KillableRedis, expected: bytes) -> None:
    async with asyncio.timeout(CAN_SERVE_WITHIN_S):
        while True:
            await server.query("BGSAVE")
            await asyncio.sleep(0.1)
            if b"rdb_last_bgsave_status:" + expected in await server.query("INFO persistence"):
                return


async def _max_clients(setup: RedisSetup) -> float:
    async with _connection(setup.primary) as ask:
        await ask("CONFIG SET maxclients 3")
        for kind in ("normal", "pubsub"):
            await ask(f"CLIENT KILL TYPE {kind} SKIPME yes")
        await asyncio.sleep(LASTS_S)
        await ask("CONFIG SET maxclients 1000")
    return time.monotonic()


@asynccontextmanager
async def _connection(
    server: KillableRedis,
) -> AsyncGenerator[Callable[[str], Awaitable[None]]]:
    """A connection that stays open: later ones may be refused."""
    reader, writer = await asyncio.open_connection(HOST, server.port)

    async def ask(command: str) -> None:
        writer.write(command.encode() + b"\r\n")
        reply = await reader.readline()
        assert not reply.startswith(b"-"), reply

    try:
        yield ask
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _no_channels(setup: RedisSetup) -> float:
    """It lasts to the end: publishing is not needed."""
    await setup.primary.command("ACL SETUSER default resetchannels")
    return time.monotonic()


async def _no_scripts(setup: RedisSetup) -> float:
    await setup.primary.command("ACL SETUSER default -@scripting")
    await asyncio.sleep(LASTS_S)
    await setup.primary.command("ACL SETUSER default +@scripting")
    return time.monotonic()


async def _flush(setup: RedisSetup) -> float:
    await setup.primary.command("FLUSHDB")
    return time.monotonic()


async def _older_state(setup: RedisSetup) -> float:
    copy = setup.save_copy()
    await asyncio.sleep(BETWEEN_S)
    await setup.restart_from(copy)
    return time.monotonic()


async def _nothing(setup: RedisSetup) -> float:
    del setup
    return time.monotonic()


_SENTINEL = SetupKind.SENTINEL
_WAIT = tuple(WAIT_SETTINGS.items())

EVENTS: Final = (
    MatrixEvent("kill, started again after 1.5 s", _kill, is_quick=True),
    MatrixEvent("freeze for 6 s", _freeze),
    MatrixEvent("promote: primary killed", _promote_after_kill, _SENTINEL),
    MatrixEvent(
        "promote: primary killed",
        _replicated(_promote_after_kill),
        _SENTINEL,
        "`WAIT` for 1",
        _WAIT,
    ),
    MatrixEvent("promote: primary frozen for 4 s", _promote_after_freeze, _SENTINEL, is_quick=True),
    MatrixEvent(
        "promote: primary frozen for 4 s",
        _replicated(_promote_after_freeze),
        _SENTINEL,
        "`WAIT` for 1",
        _WAIT,
        is_quick=True,
    ),
    MatrixEvent("managed move", _move, SetupKind.REPLICA, is_quick=True),
    MatrixEvent("`READONLY` for 6 s", _read_only),
    MatrixEvent("`NOREPLICAS` for 6 s", _configured("min-replicas-to-write", "1", "0")),
    MatrixEvent("out of memory (`OOM`) for 6 s", _configured("maxmemory", "1", "0")),
    MatrixEvent("disk full (`MISCONF`) for 6 s", _disk_full),
    MatrixEvent("`maxclients` 3 for 6 s", _max_clients),
    MatrixEvent("ACL: no channels from then on", _no_channels, is_quick=True),
    MatrixEvent("ACL: no scripts for 6 s (`NOPERM`)", _no_scripts),
    MatrixEvent("`FLUSHDB`", _flush, is_quick=True),
    MatrixEvent("state of 2 s before", _older_state, is_quick=True),
    MatrixEvent("clock of one worker + 1 h", _nothing, clock_s=HOUR_S),
    MatrixEvent("clock of one worker − 1 h", _nothing, clock_s=-HOUR_S),
)
