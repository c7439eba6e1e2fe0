"""Sends one callback: signed, to a checked address, in bounded time, following nothing.

The format is that of Standard Webhooks (https://www.standardwebhooks.com), signed with the
project's own library. The address is checked where the socket is opened, so a name cannot lead to
another one after the check. No proxy is used: it would connect to what this program cannot check.
"""

import asyncio
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp.abc import ResolveResult
from standardwebhooks.webhooks import Webhook
from yarl import URL

from config.callback_hosts import CallbackHosts, CallbackTarget, CallbackUrlError
from jobs.callbacks import Callback, CallbackFailure

USER_AGENT: Final = "knouds-worker-callbacks"

MAX_RESPONSE_BYTES: Final = 65_536
"""What is read of a response, and thrown away; a longer one ends its connection."""

IDLE_S: Final = 15.0
"""How long a connection is kept for the next callback to the same host."""

DNS_CACHE_S: Final = 60

_REDIRECTS: Final = range(300, 400)
_SERVER_ERRORS: Final = range(500, 600)


class RefusedAddress(OSError):
    """The host leads to an address that callbacks may not connect to."""


class CallbackPoster:
    """Sends callbacks until `close`; it connects with its first call."""

    def __init__(self, hosts: CallbackHosts, secrets: Sequence[str], timeout_s: float) -> None:
        self._hosts = hosts
        self._webhooks = [Webhook(secret) for secret in secrets]
        self.timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, callback: Callback, body: bytes, now: float) -> int | CallbackFailure:
        """Send a callback; returns the status of a receiver that took it, or what went wrong.

        `now`: Unix seconds, the time of the signature.
        """
        try:
            target = self._hosts.check(callback.url)
        except CallbackUrlError as error:
            return CallbackFailure(f"the URL {error}", is_final=True)
        url = URL(callback.url)
        if (url.raw_host, url.port) != (target.host, target.port):
            return CallbackFailure("the URL can be read in two ways", is_final=True)
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._post(url, self._headers(callback.id, body, now), body)
        except TimeoutError:
            text = f"no answer from {target.name} within {self.timeout_s:g} s"
            return CallbackFailure(f"{text} (KNOUDS_CALLBACK_TIMEOUT_S)", is_host_down=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _failure_of(error, target)

    def _headers(self, callback_id: str, body: bytes, now: float) -> dict[str, str]:
        at, text = datetime.fromtimestamp(now, UTC), body.decode()
        return {
            "Content-Type": "application/json",
            "webhook-id": callback_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(
                one.sign(callback_id, at, text) for one in self._webhooks
            ),
        }

    async def _post(self, url: URL, headers: dict[str, str], body: bytes) -> int | CallbackFailure:
        session = self._session = self._session or self._new_session()
        response = await session.post(url, data=body, headers=headers, allow_redirects=False)
        try:
            status = response.status
            failure = _failure_of_status(status, response.headers.get("Retry-After", ""))
            await _discard(response)
        finally:
            response.release()
        return failure or status

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(  # pyright: ignore[reportUnknownMemberType]
            limit=0,  # the sender limits the calls
            keepalive_timeout=IDLE_S,
            ttl_dns_cache=DNS_CACHE_S,
            resolver=CheckedResolver(self._hosts),
            socket_factory=self._open_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
        )

    def _open_socket(self, address: tuple[int, int, int, str, Any]) -> socket.socket:
        host, port = address[4][:2]
        if not self._hosts.allows_address(host, port):
            raise _refused([host])
        return socket.socket(*address[:3])


class CheckedResolver(aiohttp.ThreadedResolver):
    """Resolves names to addresses that may be connected to."""

    def __init__(self, hosts: CallbackHosts) -> None:
        super().__init__()
        self._hosts = hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name; raises `RefusedAddress` where it leads to none of them."""
        found = await super().resolve(host, port, family)
        allowed = [one for one in found if self._hosts.allows_address(one["host"], port)]
        if not allowed:
            raise _refused([one["host"] for one in found])
        return allowed


def _refused(addresses: Sequence[str]) -> RefusedAddress:
    return RefusedAddress(
        f"leads to {', '.join(addresses[:3])}, which is no public address: list it or its network"
        " in KNOUDS_CALLBACK_HOSTS if callbacks may go there"
    )


async def _discard(response: aiohttp.ClientResponse) -> None:
    """Read a short body, so that the connection can be used again; end one with a long body."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            response.close()
            return


def _failure_of_status(status: int, retry_after: str) -> CallbackFailure | None:
    """What a status means; None if the receiver took the callback."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if status in _REDIRECTS:
        text = f"answered {status}: redirects are not followed; use the address that it leads to"
        return CallbackFailure(text, status)
    if status == HTTPStatus.GONE:
        text = f"answered {status} Gone: it does not want this callback, so it is not tried again"
        return CallbackFailure(text, status, is_final=True)
    is_host_down = status in _SERVER_ERRORS or status == HTTPStatus.TOO_MANY_REQUESTS
    wait_s = _retry_after_s(retry_after)
    return CallbackFailure(f"answered {status}", status, wait_s, is_host_down=is_host_down)


def _retry_after_s(value: str) -> float | None:
    """Seconds of a `Retry-After` header, which is a number or a date (RFC 9110, section 10.2.3)."""
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, (at - datetime.now(at.tzinfo or UTC).replace(tzinfo=at.tzinfo)).total_seconds())


def _failure_of(error: Exception, target: CallbackTarget) -> CallbackFailure:
    """What an error means; its text names the host, never what a receiver sent."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    match error:
        case _ if isinstance(cause, RefusedAddress):
            return CallbackFailure(f"{target.host} {cause}")
        case aiohttp.ClientConnectorCertificateError():
            text = f"the TLS certificate of {target.name} is not trusted"
        case aiohttp.ClientConnectorSSLError() | aiohttp.ClientSSLError():
            text = f"no TLS with {target.name}"
        case aiohttp.ClientConnectorDNSError():
            text = f"the host name {target.host} is not found"
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or type(error.os_error).__name__
            text = f"cannot connect to {target.name} ({reason})"
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            text = f"{target.name} closed the connection without an answer"
        case aiohttp.ClientResponseError():
            text = f"{target.name} does not answer in HTTP"
        case _:
            text = f"the request to {target.name} failed ({type(error).__name__})"
    return CallbackFailure(text, is_host_down=True)
