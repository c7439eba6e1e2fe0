"""Why a request got no response. The texts hold no part of a request or a response."""

import re

from worker.provider.http.text import sanitize


class TransportError(Exception):
    """A request that got no response; its text may be shown."""

    text = ""

    def __str__(self) -> str:
        return self.text


class CannotConnect(TransportError):
    """No connection could be made: nothing was sent."""

    def __init__(self, host: str, error: OSError) -> None:
        super().__init__(host, error)
        self.text = f"Cannot connect to host {host} ({error.strerror or error})"


class ClientClosed(TransportError):
    """The transport was closed."""

    text = "the client is closed"


class RequestNotWritten(TransportError):
    """The send gate stayed closed: not a byte was written."""

    text = "the connection was closed before it was used"


class ServerDisconnected(TransportError):
    """The connection ended before the head of a response came."""

    text = "the server closed the connection"

    def __init__(self, *, was_reused: bool) -> None:
        super().__init__(was_reused)
        self.was_reused = was_reused
        """The connection had served an earlier request: it may have ended before this one."""


class ResponseTruncated(TransportError):
    """The connection ended within the body of a response, or the body does not decompress."""

    text = "the response was cut off"


class InvalidHttpResponse(TransportError):
    """The bytes that came are not an HTTP/1.1 response."""

    text = "the response was not HTTP"


class ResponseTooLarge(TransportError):
    """A response larger than the limit."""

    text = "the response was too large to read"


def describe(error: Exception, secrets: re.Pattern[str]) -> str:
    """Say what happened, without what `secrets` matches (see `sanitize`)."""
    match error:
        case TransportError():
            return sanitize(str(error), secrets)
        case TimeoutError():
            return "timed out"
        case OSError(strerror=str(reason)):
            return sanitize(f"the connection failed ({reason})", secrets)
        case _:
            return f"the call failed ({type(error).__name__})"
