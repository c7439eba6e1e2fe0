"""Why Redis cannot be reached, in a line, with what to correct in its address."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from redis.asyncio.sentinel import MasterNotFoundError

from config.redis_address import parse_sentinel
from worker.store.refusals import RefusalCode, redis_refusal

PROBE_S: Final = 1.0
"""How long a server has to show whether it speaks TLS."""

REDIS_PORT: Final = 6379


class UnreachableRedis(Exception):
    """Redis cannot be reached: one line for the operator."""


class ConnectionProblem(NamedTuple):
    """What is the matter, and the fix."""

    text: str
    fix: str
    may_pass: bool = False
    """Whether it may end without a change of the settings."""

    @property
    def line(self) -> str:
        """Both in one line."""
        return f"{self.text}: {self.fix}"


_Pattern = tuple[str, str, str]
"""What is found in the text of an error, what is the matter, and the fix."""

_PATTERNS: Final[tuple[_Pattern, ...]] = (
    (
        r"certificate is not valid for",
        "the certificate of Redis is for another host",
        (
            "name the host in KNOUDS_REDIS_URL as the certificate does, or add"
            " ssl_check_hostname=false to its query"
        ),
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the certificate of Redis is not trusted",
        "add ?ssl_ca_certs=FILE with its CA to KNOUDS_REDIS_URL, or correct the host in it",
    ),
    (
        r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNEXPECTED_EOF|PACKET_LENGTH_TOO_LONG",
        "Redis does not speak TLS on this port",
        "begin KNOUDS_REDIS_URL with redis:// or redis+sentinel://, or name its TLS port",
    ),
    (
        r"CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE",
        "Redis wants a certificate of its clients",
        "add ssl_certfile and ssl_keyfile to the query of KNOUDS_REDIS_URL",
    ),
    (
        r"SELECT is not allowed in cluster mode",
        "Redis is a cluster",
        "use one primary, alone or with Sentinel: Redis Cluster is not supported",
    ),
    (
        r"DB index is out of range|invalid DB index",
        "Redis has no database of this number",
        "name another after the host of KNOUDS_REDIS_URL, as /0",
    ),
    (
        r"without any password configured",
        "Redis has no password",
        "remove the password from KNOUDS_REDIS_URL, or set one in Redis (requirepass, or ACL)",
    ),
)

_SENTINEL_PATTERNS: Final[tuple[_Pattern, ...]] = (
    (
        r"without any password configured",
        "the Sentinels have no password",
        "remove sentinel_username and sentinel_password from the query of KNOUDS_REDIS_URL",
    ),
    (
        r"Authentication|NOAUTH|WRONGPASS|NOPERM|[Pp]ermission|invalid username-password",
        "the Sentinels refuse the user or the password",
        "correct sentinel_username and sentinel_password in the query of KNOUDS_REDIS_URL",
    ),
    (
        r"unknown command .?SENTINEL",
        "the hosts in KNOUDS_REDIS_URL are no Sentinels",
        "begin it with redis:// and one host, or name the ports of the Sentinels, as 26379",
    ),
    *_PATTERNS,
)


async def connection_problem(error: Exception, url: str | None) -> ConnectionProblem:
    """What is the matter where a connection to `url` ended in `error`; never shows a password.

    A server that does not answer is asked once whether it speaks TLS, or does not.
    """
    shown = f"{error} {type(error.__cause__ or error.__context__).__name__} {error.__cause__ or ''}"
    if isinstance(error, MasterNotFoundError):
        return await _no_primary(shown, str(error), url)
    if (known := _find(_PATTERNS, shown)) is not None:
        return known
    refusal = redis_refusal(error)
    if refusal is not None and refusal.code is not RefusalCode.UNREACHABLE:
        return ConnectionProblem(refusal.reason, refusal.fix, not refusal.needs_operator)
    scheme, _, rest = (url or "").partition("://")
    address = urlsplit(f"//{rest}")
    if scheme == "redis" and await _speaks_tls(address.hostname, address.port):
        fix = "begin KNOUDS_REDIS_URL with rediss:// instead of redis://"
        return ConnectionProblem("Redis speaks TLS on this port", fix)
    if scheme == "rediss" and await _speaks_plainly(address.hostname, address.port):
        fix = "begin KNOUDS_REDIS_URL with redis://, or name its TLS port"
        return ConnectionProblem("Redis does not speak TLS on this port", fix)
    fix = "start it, or check KNOUDS_REDIS_URL; without it no job moves, and none is lost"
    text = f"Redis cannot be used: {str(error) or type(error).__name__}"
    return ConnectionProblem(text, fix, may_pass=True)


def _find(patterns: Sequence[_Pattern], shown: str) -> ConnectionProblem | None:
    for pattern, text, fix in patterns:
        if re.search(pattern, shown):
            return ConnectionProblem(text, fix)
    return None


async def _no_primary(shown: str, why: str, url: str | None) -> ConnectionProblem:
    """No Sentinel named a primary: it refuses the login, speaks TLS, or does not know the name."""
    if (known := _find(_SENTINEL_PATTERNS, shown)) is not None:
        return known
    address = parse_sentinel(url) if url else None
    for host, port in address.nodes if address else ():
        if address and not address.is_tls and await _speaks_tls(host, port):
            fix = "begin KNOUDS_REDIS_URL with rediss+sentinel://"
            return ConnectionProblem("the Sentinels speak TLS", fix)
        if address and address.is_tls and await _speaks_plainly(host, port):
            fix = "begin KNOUDS_REDIS_URL with redis+sentinel://, or name their TLS ports"
            return ConnectionProblem("the Sentinels do not speak TLS", fix)
    if "the Sentinels disagree" in why:
        fix = "correct the Sentinel that is wrong, or remove it from KNOUDS_REDIS_URL"
        return ConnectionProblem(f"the primary is not known: {why}", fix, may_pass=True)
    if "No such master" in why:
        fix = "correct the /service in KNOUDS_REDIS_URL, or set it up in the Sentinels"
        return ConnectionProblem("the Sentinels do not know the service", fix, may_pass=True)
    return ConnectionProblem(
        f"too few Sentinels name a primary ({why})",
        "start the Sentinels, or correct the hosts and the /service in KNOUDS_REDIS_URL",
        may_pass=True,
    )


async def _speaks_tls(host: str | None, port: int | None) -> bool:
    """Whether the server begins TLS, with whatever certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(host, port or REDIS_PORT, ssl=context)
    except (OSError, TimeoutError):
        return False
    await _close(writer)
    return True


async def _speaks_plainly(host: str | None, port: int | None) -> bool:
    """Whether the server replies as Redis does, without TLS."""
    try:
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(host, port or REDIS_PORT)
            try:
                writer.write(b"PING\r\n")
                first = await reader.read(1)
            finally:
                await _close(writer)
    except (OSError, TimeoutError):
        return False
    return first in (b"+", b"-")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_S):
            await writer.wait_closed()
