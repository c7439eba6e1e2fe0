"""The gate of a submit: it tells *never sent* from *unknown*.

A submit may be repeated only if no byte of it was written, and no exception type says so. So the
gate opens right before the bytes are handed to the connection, with no `await` in between. Once it
is open the outcome is unknown until a response comes; once it is closed nothing can be written.
"""

from worker.provider.http.connection import Connection
from worker.provider.http.failures import RequestNotWritten
from worker.provider.port import SendMark


class SendGate:
    """The gate of one submit: it opens or closes once, for good."""

    def __init__(self, mark: SendMark | None = None) -> None:
        self.mark = mark
        """Recorded right before the first byte; None once it is."""
        self.mark_error: Exception | None = None
        self.reused = False
        """The connection had served another request before."""
        self._connection: Connection | None = None
        self._closed = False

    @property
    def status(self) -> int | None:
        """Status of the response, once its head came."""
        return self._connection.status if self._connection is not None else None

    async def record_mark(self) -> None:
        """Record the mark; if that raises, keep the error and raise RequestNotWritten."""
        if self.mark is None:
            return
        try:
            await self.mark.record()
        except Exception as error:
            self.mark_error = error
            raise RequestNotWritten from error
        self.mark = None

    def open(self, connection: Connection) -> None:
        """Allow the write, or raise RequestNotWritten if the connection cannot take it."""
        self.reused = connection.reused
        if self._closed:
            raise RequestNotWritten
        self._closed = True  # it opens once at most
        if not connection.is_usable():
            connection.abort()
            raise RequestNotWritten
        self._connection = connection

    def close(self) -> bool:
        """Allow nothing from now on; returns True if nothing was ever written."""
        self._closed = True
        return self._connection is None
