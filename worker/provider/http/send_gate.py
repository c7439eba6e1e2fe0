"""The one gate a submit's bytes pass: what tells *never sent* from *unknown*.

A submit may be repeated only if not a byte of it was written, and no exception tells. So the gate
is asked in the same breath in which the bytes are handed to the connection: nothing is awaited in
between. What happens after is unknown; a gate that was shut in time lets nothing through any more.
"""

from collections.abc import Awaitable, Callable

from worker.provider.http.connection import Connection
from worker.provider.http.failures import RequestNotWritten

BeforeWrite = Callable[[], Awaitable[None]]


class SendGate:
    """One submit's way out: closed, then either opened or shut, for good."""

    def __init__(self, before_write: BeforeWrite | None = None) -> None:
        self.before_write = before_write
        """Awaited once the connection stands, right before the first byte; None when done."""
        self.hook_error: Exception | None = None
        self.reused = False
        """The connection had served another request before."""
        self._connection: Connection | None = None
        self._closed = False

    @property
    def status(self) -> int | None:
        """The answer's, once its head came."""
        return self._connection.status if self._connection is not None else None

    async def run_hook(self) -> None:
        """Await `before_write`; where it raises, nothing is written."""
        hook = self.before_write
        if hook is None:
            return
        try:
            await hook()
        except Exception as error:
            self.hook_error = error
            raise RequestNotWritten from error
        self.before_write = None

    def open(self, connection: Connection) -> None:
        """Let the bytes through, or raise NotWritten where they would go nowhere."""
        self.reused = connection.reused
        if self._closed:
            raise RequestNotWritten
        self._closed = True  # it opens once at most
        if not connection.is_usable():
            connection.abort()
            raise RequestNotWritten
        self._connection = connection

    def close(self) -> bool:
        """Let nothing through from now on; whether nothing ever went through."""
        self._closed = True
        return self._connection is None
