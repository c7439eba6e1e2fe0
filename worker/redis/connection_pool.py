"""A connection pool that hands out what was used a moment ago at once.

redis-py 5 takes a lock and a timer for every command, and then reads from the connection to see
whether it has ended. That costs a third of a command's CPU, and a turn of the event loop.
"""

import time
from typing import Any, Final, cast

from redis.asyncio import BlockingConnectionPool

CHECK_AFTER_S: Final = 1.0
"""A connection that was idle for longer is checked before it is used. One that ended within this
time fails its next command, which the client then sends on a new connection: that is safe, since
it is what happens to a connection that ends during a command."""


class ConnectionPool(BlockingConnectionPool):
    """Waits for a free connection only if there is none."""

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection that is ready for a command.

        Raises `redis.exceptions.ConnectionError` if none is free in time.
        """
        if not self.can_get_connection():
            return await cast("Any", super()).get_connection(*args, **options)
        connection = cast("Any", self).get_available_connection()
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def ensure_connection(self, connection: Any) -> None:
        """Connect, or check that an idle connection has not ended."""
        idle_s = time.monotonic() - getattr(connection, "released_at", float("-inf"))
        if not connection.is_connected or idle_s > CHECK_AFTER_S:
            await super().ensure_connection(connection)

    async def release(self, connection: Any) -> None:
        """Take a connection back; the next that waits gets it."""
        connection.released_at = time.monotonic()
        await super().release(connection)
