"""Why Redis cannot be reached, in a line, with what to correct in its address."""

import asyncio
import contextlib
import re
import ssl
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from redis.asyncio.sentinel import MasterNotFoundError

from worker.store.refusals import RefusalCode, redis_refusal

TLS_TRY_S: Final = 1.0
"""How long a server has to begin TLS."""


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


_PATTERNS: Final = (
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
)


async def connection_problem(error: Exception, url: str | None) -> ConnectionProblem:
    """What is the matter where a connection to `url` ended in `error`; never shows a password.

    A server that does not answer in plain text is asked once whether it speaks TLS.
    """
    shown = f"{error} {type(error.__cause__ or error.__context__).__name__} {error.__cause__ or ''}"
    for pattern, text, fix in _PATTERNS:
        if re.search(pattern, shown):
            return ConnectionProblem(text, fix)
    refusal = redis_refusal(error)
    if isinstance(error, MasterNotFoundError):
        return await _no_primary(error, url)
    if refusal is not None and refusal.code is not RefusalCode.UNREACHABLE:
        return ConnectionProblem(refusal.reason, refusal.fix, not refusal.needs_operator)
    if url is not None and url.startswith("redis://") and await _speaks_tls(url):
        fix = "begin KNOUDS_REDIS_URL with rediss:// instead of redis://"
        return ConnectionProblem("Redis speaks TLS on this port", fix)
    fix = "start it, or check KNOUDS_REDIS_URL; without it no job moves, and none is lost"
    text = f"Redis cannot be used: {str(error) or type(error).__name__}"
    return ConnectionProblem(text, fix, may_pass=True)


async def _no_primary(error: Exception, url: str | None) -> ConnectionProblem:
    """No Sentinel named a primary: it refuses the login, speaks TLS, or does not know the name."""
    if re.search(
        r"Authentication|NOAUTH|WRONGPASS|NOPERM|[Pp]ermission|invalid username-password",
        str(error),
    ):
        fix = "correct sentinel_username and sentinel_password in the query of KNOUDS_REDIS_URL"
        return ConnectionProblem("the Sentinels refuse the user or the password", fix)
    nodes = (url or "").partition("://")[2].partition("/")[0].rpartition("@")[2].split(",")
    if (url or "").startswith("redis+sentinel://") and await _speaks_tls(f"redis://{nodes[0]}"):
        fix = "begin KNOUDS_REDIS_URL with rediss+sentinel://"
        return ConnectionProblem("the Sentinels speak TLS", fix)
    if "the Sentinels disagree" in str(error):
        fix = "correct the Sentinel that is wrong, or remove it from KNOUDS_REDIS_URL"
        return ConnectionProblem(f"the primary is not known: {error}", fix, may_pass=True)
    return ConnectionProblem(
        f"too few Sentinels name a primary ({error})",
        "start the Sentinels, or correct the hosts and the /service in KNOUDS_REDIS_URL",
        may_pass=True,
    )


async def _speaks_tls(url: str) -> bool:
    """Whether the server begins TLS, with whatever certificate."""
    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(TLS_TRY_S):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 6379, ssl=context
            )
    except (OSError, TimeoutError, ValueError):
        return False
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(TLS_TRY_S):
            await writer.wait_closed()
    return True
