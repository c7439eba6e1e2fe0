"""What the transport is told: limits, time limits of calls, and how settings are named in texts."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from worker.provider.http.network_path import DIRECT, NetworkPath


@dataclass(frozen=True, slots=True)
class SettingNames:
    """What the operator calls the settings that the text of a failure points to."""

    base_url: str = "the base URL"
    ca_file: str = "the CA file"
    connect_timeout: str = "the connect timeout"
    proxy: str = "the proxy URL"


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long one call may take, connection included."""

    seconds: float
    setting: str = "the timeout of the call"
    """Name of the setting that raises it."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Limits of the transport, and the way to the server."""

    connect_s: float = 10.0
    """Longest wait for DNS, TCP, the proxy's CONNECT and TLS together."""
    submit_idle_s: float = 4.0
    """A submit reuses a connection that was idle for less than this, or for less than its server's
    `Keep-Alive: timeout` and a second: servers close idle connections after 5 s (Node, Apache,
    uvicorn) or more, and a submit on a connection that closes at the same moment is lost."""
    repeatable_idle_s: float = 15.0
    """The same for calls that may be repeated."""
    submit_quiet_s: float = 0.025
    """A submit uses a connection once nothing came over it for this long after its last response: a
    second answer to that request, as a broken proxy sends, then ends the connection and is not
    taken for the answer to the submit."""
    max_body_bytes: int = 64 << 20
    """A longer response body is not read."""
    unacknowledged_s: float = 90.0
    """Bytes that the peer does not acknowledge for this long end the connection
    (TCP_USER_TIMEOUT, Linux). Must be less than the grace after which an uncertain submit may count
    as not started: nothing of it may arrive later."""
    path: NetworkPath = DIRECT
    ca_file: Path | None = None
    """PEM file of the certificates to trust instead of the system's."""
    tls: ssl.SSLContext | None = None
    """What to trust; None for `ca_file`, else what the system trusts."""
    names: SettingNames = field(default_factory=SettingNames)

    def needs_tls(self, scheme: str) -> bool:
        """Whether the server, or the proxy on the way, is reached over TLS."""
        return scheme == "https" or (self.path.proxy_url or "").startswith("https:")

    def tls_context(self) -> ssl.SSLContext:
        """What is trusted. Raises OSError (ssl.SSLError is one) for a CA file without certificates.

        Without a CA file OpenSSL follows `SSL_CERT_FILE` and `SSL_CERT_DIR`.
        """
        if self.tls is not None:
            return self.tls
        context = ssl.create_default_context(cafile=self.ca_file)
        context.set_alpn_protocols(["http/1.1"])
        return context


MAX_HEADER_BYTES: Final = 256 << 10
"""Of the status line and of one header. Generous: a paid result must not be lost because of one."""

MAX_HEADERS: Final = 250


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response. Header names are in lower case; equal ones are joined by a comma."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    body_sent: bool = True
    """False if the response came before the last byte of the request left this process."""
    is_cut: bool = False
    """Of a submit: nothing but the end of the connection ends the body, and that was a reset."""
