"""The open connections of the API: how many there may be, and which one is closed for another.

A connection that waits for a request, or has sent half of one, costs its client nothing. So none of
these has a right to stay: where a limit is reached, the one that waits longest is closed for a new
one, first those of the same client, then those of the client that has most. A client that sends
whole requests is served however many others only connect.
"""

import resource
from collections import Counter
from dataclasses import dataclass
from typing import Final, Protocol

MAX_CONNECTIONS: Final = 1_000
"""With the bytes that each may have unread, a bound of the memory."""

RESERVED_FILES: Final = 96
"""File descriptors for everything else: Redis (64), connections about to open, logs."""

MIN_CONNECTIONS: Final = 16


class TrackedConnection(Protocol):
    """A connection as the table sees it."""

    @property
    def network(self) -> str:
        """The client, as limits count it."""
        ...

    @property
    def is_sending(self) -> bool:
        """Whether a part of a response has not left yet."""
        ...

    def end_if_overdue(self, now: float) -> None:
        """Close it where the client is too slow to send or to receive."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections may be open."""

    total: int
    per_client: int
    """Of one address, where it is not a trusted proxy."""

    @classmethod
    def of_this_process(cls) -> "ConnectionLimits":
        """As many as the file descriptors of the process allow; half of them for one client."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        total = MAX_CONNECTIONS
        if files != resource.RLIM_INFINITY:
            total = max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, files - RESERVED_FILES))
        return cls(total, total // 2)


class ConnectionTable:
    """The open connections, and those among them that wait for a request."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open: dict[TrackedConnection, None] = {}
        self._open_by_network: Counter[str] = Counter()
        self._waiting: dict[str, dict[TrackedConnection, None]] = {}
        """By network, the longest waiting first."""

    def __len__(self) -> int:
        return len(self._open)

    def make_room(self, network: str, *, is_proxy: bool) -> bool:
        """Make room for one more connection; False where none can be closed for it."""
        if not is_proxy and self._open_by_network[network] >= self.limits.per_client:
            return self._close_longest_waiting(network)
        return len(self._open) < self.limits.total or self.close_waiting(1) == 1

    def close_waiting(self, count: int) -> int:
        """Close so many connections of the clients that have most; returns how many it were."""
        for closed in range(count):
            most = max(self._waiting, key=lambda name: len(self._waiting[name]), default=None)
            if most is None or not self._close_longest_waiting(most):
                return closed
        return count

    def _close_longest_waiting(self, network: str) -> bool:
        for connection in self._waiting.get(network, ()):
            if not connection.is_sending:
                self.remove(connection)
                connection.abort()
                return True
        return False

    def add(self, connection: TrackedConnection) -> None:
        """Add a new connection, which waits for its first request."""
        self._open[connection] = None
        self._open_by_network[connection.network] += 1
        self.set_waiting(connection)

    def remove(self, connection: TrackedConnection) -> None:
        """Remove a connection that is closed; one that is unknown is no error."""
        if connection not in self._open:
            return
        del self._open[connection]
        self.set_busy(connection)
        self._open_by_network[connection.network] -= 1
        if not self._open_by_network[connection.network]:
            del self._open_by_network[connection.network]

    def set_waiting(self, connection: TrackedConnection) -> None:
        """A connection waits for a request from now on."""
        if connection in self._open:
            self._waiting.setdefault(connection.network, {})[connection] = None

    def set_busy(self, connection: TrackedConnection) -> None:
        """A request of a connection is being served."""
        waiting = self._waiting.get(connection.network, {})
        waiting.pop(connection, None)
        if not waiting:
            self._waiting.pop(connection.network, None)

    def end_overdue(self, now: float) -> None:
        """Close every connection whose client is too slow: to be called every second."""
        for connection in tuple(self._open):
            connection.end_if_overdue(now)
