"""Why a request got no response. The texts hold no part of a request or a response."""

import asyncio
import os
import re
import ssl
from typing import Final, Literal, assert_never

import aiohttp

from worker.provider.http.network_path import NetworkPath
from worker.provider.http.options import SettingNames, TimeLimit
from worker.provider.http.request import Origin
from worker.provider.http.text import sanitize

_PROXY_AUTHENTICATION: Final = 407
_TLS_RECORD: Final = r"b'\x15\x03"
"""How aiohttp shows the first bytes of a TLS alert in the message of a bad status line."""

MAX_ENCODING_CHARS: Final = 60
"""Of the name of an encoding that is shown."""

Phase = Literal["connection", "mark", "answer"]
"""What a request waits for."""


class TransportError(Exception):
    """A request that got no response; its text may be shown."""

    text = ""

    def __str__(self) -> str:
        return self.text


class ClientClosed(TransportError):
    """The transport was closed."""

    text = "the client is closed"


class RequestNotWritten(TransportError):
    """The send gate stayed closed: not a byte was written."""

    text = "the connection was closed before it was used"


class MarkTooOld(RequestNotWritten):
    """The connection was not ready within 5 s of the mark: not a byte was written."""

    text = "the submit took more than 5 s from its record to its first byte, so it was not sent"


class ResponseTooLarge(TransportError):
    """A response larger than the limit."""

    text = "the response was too large to read"


class UnreadableEncoding(TransportError):
    """A body that is not in the encoding it claims, or in one that was not asked for."""

    def __init__(self, encoding: str, *, is_known: bool) -> None:
        super().__init__(encoding)
        shown = encoding[:MAX_ENCODING_CHARS]
        self.text = (
            f"the answer says that it has the encoding {shown!r}, and it has not"
            if is_known
            else f"the answer has the encoding {shown!r}, which this worker cannot read"
        )


class FailureTexts:
    """Says what happened to a request, in words that name the host and the setting.

    `secrets`: what may not show (see `sanitize`).
    """

    def __init__(
        self,
        origin: Origin,
        path: NetworkPath,
        names: SettingNames,
        connect_s: float,
        secrets: re.Pattern[str],
    ) -> None:
        self._origin, self._path, self._names = origin, path, names
        self._connect_s, self._secrets = connect_s, secrets

    def describe(self, error: Exception, limit: TimeLimit, phase: Phase = "answer") -> str:
        """Say what happened. `phase`: what a timeout ended the wait for."""
        return sanitize(self._text(error, limit, phase), self._secrets)

    def _plain_http_to_tls(self) -> str:
        """What to do about it."""
        return f"{self._origin.name} speaks TLS: {self._names.base_url} must start with https://"

    def _text(self, error: Exception, limit: TimeLimit, phase: Phase) -> str:
        where = self._origin.name
        match error:
            case TransportError():
                return str(error)
            case aiohttp.ClientHttpProxyError():
                return self._proxy_refused(error)
            case aiohttp.ClientConnectorError():
                return self._not_connected(error)
            case aiohttp.ConnectionTimeoutError():
                return self._connect_timeout(limit)
            case TimeoutError():
                return self._timeout(limit, phase)
            case aiohttp.ServerDisconnectedError() | ConnectionError():
                return "the server closed the connection"
            case aiohttp.ClientResponseError():
                return self._not_http(error)
            case aiohttp.ClientPayloadError():
                return "the response was cut off"
            case OSError():
                return f"the connection to {where} failed ({_reason(error)})"
            case _:
                return f"the call to {where} failed ({type(error).__name__})"

    def _timeout(self, limit: TimeLimit, phase: Phase) -> str:
        match phase:
            case "connection":
                return self._connect_timeout(limit)
            case "mark":
                return (
                    f"the submit was not recorded within {limit.seconds:g} s ({limit.setting}), so"
                    " it was not sent"
                )
            case "answer":
                return (
                    f"no answer from {self._origin.name} within {limit.seconds:g} s"
                    f" ({limit.setting})"
                )
            case _:
                assert_never(phase)

    def _connect_timeout(self, limit: TimeLimit) -> str:
        connect = TimeLimit(self._connect_s, self._names.connect_timeout)
        shorter = connect if connect.seconds <= limit.seconds else limit
        return (
            f"no connection to {self._origin.name}{self._through()} within {shorter.seconds:g} s"
            f" ({shorter.setting})"
        )

    def _not_connected(self, error: aiohttp.ClientConnectorError) -> str:
        cause: OSError = error.os_error
        where, names, reason = self._origin.name, self._names, _reason(cause)
        match error:
            case aiohttp.ClientConnectorCertificateError():
                certificate = error.certificate_error
                reason = getattr(certificate, "verify_message", "") or _reason(certificate)
                return (
                    f"the TLS certificate of {where} is not trusted ({reason}){self._through()}:"
                    f" if a company's proxy or an authority of your own signs it, name the"
                    f" authority's certificate with {names.ca_file}"
                )
            case aiohttp.ClientConnectorSSLError():
                return (
                    f"no TLS with {where} ({_tls_reason(cause)}){self._through()}:"
                    f" check {names.base_url}, which starts with https://"
                )
            case aiohttp.ClientProxyConnectionError():
                return f"cannot connect to the {self._proxy()} ({reason}): check {self._source()}"
            case aiohttp.ClientConnectorDNSError() if self._path.proxy_url is not None:
                return (
                    f"the host name of the {self._proxy()} is not found ({reason}):"
                    f" check {self._source()}"
                )
            case aiohttp.ClientConnectorDNSError():
                return (
                    f"the host name {self._origin.host} is not found ({reason}):"
                    f" check {names.base_url} and the name servers of this machine"
                )
            case _:
                return (
                    f"cannot connect to {where} ({reason}){self._through()}: check"
                    f" {names.base_url} and the firewalls on the way"
                )

    def _proxy_refused(self, error: aiohttp.ClientHttpProxyError) -> str:
        said = f"{error.status} {sanitize(error.message, self._secrets)}".strip()
        if error.status == _PROXY_AUTHENTICATION:
            advice = (
                f"it asks for a name and a password: http://user:password@… in {self._source()}"
            )
        else:
            advice = f"it does not connect to this host; allow it there, or change {self._source()}"
        return f"the {self._proxy()} refused to connect to {self._origin.name} ({said}): {advice}"

    @property
    def plain_proxy(self) -> str:
        """The proxy that reads and may answer each request; empty if there is none.

        What goes to https:// is tunnelled: the proxy answers the CONNECT alone.
        """
        return self._proxy() if self._path.proxy_url and self._origin.scheme == "http" else ""

    def proxy_wants_password(self) -> str:
        """What a 407 in answer to a request through a proxy means."""
        return (
            f"the {self._proxy()} refused the request (407): it asks for a name and a password:"
            f" http://user:password@… in {self._source()}"
        )

    def _not_http(self, error: aiohttp.ClientResponseError) -> str:
        if error.message.startswith("Got more than") or "Too many headers" in error.message:
            return ResponseTooLarge.text
        if _TLS_RECORD in error.message:
            return self._plain_http_to_tls()
        return "the response was not HTTP"

    def _proxy(self) -> str:
        return f"proxy {self._path.proxy}"

    def _source(self) -> str:
        return self._path.source

    def _through(self) -> str:
        return "" if self._path.proxy_url is None else f" {self._path.describe()}"


def _reason(error: BaseException) -> str:
    """The cause in words, never empty."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(number)  # asyncio and aiohappyeyeballs put addresses there
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__


def _tls_reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if isinstance(reason, str) else _reason(error)


REPEATABLE_ERRORS: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
"""What a closed connection raises. Those of `NEVER_CONNECTED` are among them."""

NEVER_CONNECTED: Final = (aiohttp.ClientConnectorError, asyncio.TimeoutError)

NOT_CONNECTED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
"""What proves that no connection to the server was made: the request was not sent."""
