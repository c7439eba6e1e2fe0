"""Why a call came to nothing, in words that hold no part of a request or an answer."""

from worker.provider.knouds.fields import sanitize


class TransportError(Exception):
    """A call that got no answer; its text may be shown."""


class CannotConnect(TransportError):
    """No connection came about: nothing was sent."""

    def __init__(self, host: str, error: OSError) -> None:
        super().__init__(f"Cannot connect to host {host} ({error.strerror or error})")


class ClientClosed(TransportError):
    """The client was closed."""

    def __init__(self) -> None:
        super().__init__("the client is closed")


class RequestNotWritten(TransportError):
    """The gate let nothing through: not a byte was written."""

    def __init__(self) -> None:
        super().__init__("the connection was closed before it was used")


class ServerDisconnected(TransportError):
    """The connection ended before the head of an answer came."""

    def __init__(self) -> None:
        super().__init__("the server hung up")
        self.was_reused = False
        """The connection was kept from an earlier request: it may have ended before this one."""


class ResponseTruncated(TransportError):
    """The connection ended within the body of an answer, or the body does not unpack."""

    def __init__(self) -> None:
        super().__init__("the answer broke off")


class InvalidHttpResponse(TransportError):
    """What came is no answer of HTTP/1.1."""

    def __init__(self) -> None:
        super().__init__("the answer was not HTTP")


class ResponseTooLarge(TransportError):
    """An answer beyond the cap."""

    def __init__(self) -> None:
        super().__init__("the answer was too large to read")


def describe(error: Exception) -> str:
    """Say what happened."""
    match error:
        case TransportError():
            return sanitize(str(error))
        case TimeoutError():
            return "timed out"
        case OSError(strerror=str(words)):
            return sanitize(f"the connection failed ({words})")
        case _:
            return f"the call failed ({type(error).__name__})"
