"""A connection pool that hands out what was used a moment ago at once, to the primary only.

redis-py 5 takes a lock and a timer for every command, and then reads from the connection to see
whether it has ended. That costs a third of a command's CPU, and a turn of the event loop. It waits
for its lock also to take a connection back, and a task that is cancelled there never returns it.
"""

import asyncio
import re
import time
from typing import Any, Final, cast

from redis.asyncio import BlockingConnectionPool
from redis.exceptions import (
    ConnectionError,  # noqa: A004
    NoPermissionError,
    RedisError,
    ResponseError,
)

from worker.redis.hiredis_packer import packing
from worker.redis.primary import NotPrimary, Primary
from worker.store.refusals import MAX_CLIENTS, RefusalCode, redis_refusal

CHECK_AFTER_S: Final = 1.0
"""A connection that was idle for longer is checked before it is used. One that ended within this
time fails its next command, which the client then sends on a new connection: that is safe, since
it is what happens to a connection that ends during a command."""

ONLY_REPLICAS: Final = (RefusalCode.READONLY, RefusalCode.UNBLOCKED, RefusalCode.MASTERDOWN)
"""What only a replica refuses with, or a server that became one."""

_RUN_ID: Final = re.compile(rb"^run_id:(\w+)", re.MULTILINE)
_MODE: Final = re.compile(rb"^(?:redis|server)_mode:(\w+)", re.MULTILINE)  # Redis, Valkey
_ROLE: Final = re.compile(rb"^role:(\w+)", re.MULTILINE)


class _PrimaryConnection:
    """What a connection does beside redis-py's: it connects to the primary and to nothing else."""

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        cast("Any", super()).__init__(**options)
        self.primary = primary
        self.generation = -1

    async def connect(self) -> None:
        """Connect to the primary, if there is no connection yet."""
        if not cast("Any", self).is_connected:
            await self.primary.locate()
        await cast("Any", super()).connect()

    async def _connect(self) -> None:
        this = cast("Any", self)
        if (address := await self.primary.locate()) is not None:
            this.host, this.port = address
        self.generation = self.primary.generation
        await cast("Any", super())._connect()  # noqa: SLF001  redis-py's own way to extend it

    async def _send_packed_command(self, command: Any) -> None:
        """Send; a transport that was closed meanwhile is a broken connection, as any other.

        uvloop says it with a RuntimeError, which ended the worker: nothing retries that.
        """
        reader = cast("Any", self)._reader  # noqa: SLF001  as above
        try:
            await cast("Any", super())._send_packed_command(command)  # noqa: SLF001  as above
        except RuntimeError as error:
            raise ConnectionResetError("the connection was closed meanwhile") from error
        except OSError as error:
            _raise_if_refused(reader, error)
            raise

    async def on_connect(self) -> None:
        """Log in, select the database, and identify the server."""
        await cast("Any", super()).on_connect()
        await self.identify()

    async def identify(self) -> None:
        """Ask the server who it is; raises NotPrimary if it is not the primary.

        One that does not say stays unconfirmed. Raises ConnectionError for a Sentinel.
        """
        this, asked_at = cast("Any", self), time.monotonic()
        for section in ("server", "replication"):
            await this.send_command("INFO", section, check_health=False)
        about_server = await self._read_info()
        role = _ROLE.search(await self._read_info())
        if (mode := _MODE.search(about_server)) is not None and mode[1] == b"sentinel":
            raise ConnectionError(f"{RefusalCode.SENTINEL} and no Redis answers")
        run_id = _RUN_ID.search(about_server)
        if self.generation != self.primary.generation:
            raise NotPrimary("another server became the primary")
        if run_id is None or role is None:
            return
        self.primary.record_server(
            run_id[1].decode(), is_replica=role[1] != b"master", asked_at=asked_at
        )
        self.generation = self.primary.generation

    async def _read_info(self) -> bytes:
        """A section of `INFO`; empty if the user may not read it."""
        try:
            return cast("bytes", await self.read_response())
        except NoPermissionError as error:
            self.primary.problem = f"INFO is refused: {error}"
            return b""

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply. A server that refuses writes as a replica is left at once."""
        reader = cast("Any", self)._reader  # noqa: SLF001  as above
        try:
            return await cast("Any", super()).read_response(*args, **options)
        except ConnectionError as error:
            _raise_if_refused(reader, error)
            raise
        except ResponseError as error:
            refusal = redis_refusal(error)
            if refusal is None or refusal.code not in ONLY_REPLICAS:
                raise
            if self.generation == self.primary.generation:
                self.primary.replace(refusal.text)
            await cast("Any", self).disconnect(nowait=True)
            raise NotPrimary(f"{refusal.code}: {error}") from None

    def abort(self) -> None:
        """End the connection at once: whoever waits for a reply gets an error."""
        cast("Any", self)._writer.transport.abort()  # noqa: SLF001  redis-py has no other way


def _raise_if_refused(reader: Any, error: Exception) -> None:
    """Raise ConnectionError if Redis said, before it closed the connection, that it has too many.

    redis-py only says that the connection is closed: what came before is unread.
    """
    unread = bytes(getattr(reader, "_buffer", b""))
    if MAX_CLIENTS.encode() in unread:
        raise ConnectionError(MAX_CLIENTS) from error


class ConnectionPool(BlockingConnectionPool):
    """Waits for a free connection only if there is none."""

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        cast("Any", super()).__init__(primary=primary, **options)
        made = cast("type[Any]", self.connection_class)
        self.connection_class = type(
            f"Primary{made.__name__}", (_PrimaryConnection, *packing(), made), {}
        )
        self.primary = primary
        self._waiting = self._returned = 0
        self._notifying: asyncio.Task[None] | None = None
        primary.probe = self._probe
        primary.observe(self._abort_outdated)

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection that is ready for a command.

        Raises `redis.exceptions.ConnectionError` if none is free in time.
        """
        if not self.can_get_connection():
            self._waiting += 1
            try:
                return await cast("Any", super()).get_connection(*args, **options)
            finally:
                self._waiting -= 1
        connection = cast("Any", self).get_available_connection()
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def ensure_connection(self, connection: Any) -> None:
        """Connect, or check that an idle connection has not ended."""
        if connection.is_connected and connection.generation != self.primary.generation:
            await connection.disconnect(nowait=True)
        idle_s = time.monotonic() - getattr(connection, "released_at", float("-inf"))
        if not connection.is_connected or idle_s > CHECK_AFTER_S:
            await super().ensure_connection(connection)

    async def release(self, connection: Any) -> None:
        """Take a connection back; the next that waits gets it. No cancellation stops it."""
        connection.released_at = time.monotonic()
        await super(BlockingConnectionPool, self).release(connection)
        if not self._waiting:
            return
        self._returned += 1
        if self._notifying is None:
            self._notifying = asyncio.create_task(self._notify())

    async def _notify(self) -> None:
        async with self._condition:
            self._condition.notify(self._returned)
            self._returned, self._notifying = 0, None

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002
        """Close all connections, also those to Sentinels."""
        await super().disconnect(inuse_connections)
        await self.primary.close()

    def _abort_outdated(self) -> None:
        pool = cast("Any", self)
        known = (*pool._available_connections, *pool._in_use_connections)  # noqa: SLF001  ditto
        for connection in known:
            if connection.is_connected and connection.generation != self.primary.generation:
                connection.abort()

    async def _probe(self) -> None:
        """Identify the server by a new connection, or by one of the pool if there is no other."""
        fresh = cast("Any", self).make_connection()
        fresh.lib_name = fresh.lib_version = None  # two commands less
        try:
            await fresh.connect()
        except RedisError:
            await self._probe_by_pooled()
        finally:
            await fresh.disconnect(nowait=True)

    async def _probe_by_pooled(self) -> None:
        connection = await self.get_connection()
        try:
            await connection.identify()
        finally:
            await self.release(connection)
