"""Connections to Redis: one pool, retried with backoff, bounded in every wait.

`Retry` must be the asyncio class: with the sync class redis-py silently does not retry. The socket
timeout must be set: without one a connection that drops packets hangs for ever.
"""

from typing import Any, Final, cast

from arq import ArqRedis
from pydantic import SecretStr
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError  # noqa: A004

from config.redis_address import Sentinel as SentinelAddress
from config.redis_address import redis_options
from config.settings import Settings
from worker.redis.connection_pool import ConnectionPool
from worker.redis.embedded import running_url
from worker.redis.primary import Primary
from worker.redis.sentinels import ANSWER_TIMEOUT_S, SentinelClients
from worker.store.arq_codec import deserialize, serialize

MAX_CONNECTIONS: Final = 64
SOCKET_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 3.0
POOL_WAIT_S: Final = 10.0
MAX_RETRIES: Final = 8
FAIL_FAST_RETRIES: Final = 1
"""One more try on a fresh connection."""

BACKOFF_CAP_S: Final = 0.5


class NoRedisError(Exception):
    """No Redis is configured, and no embedded one runs in the state folder."""


def redis_url(settings: Settings) -> str:
    """The URL to use: the setting, else the embedded server that runs in the state folder."""
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    if (running := running_url(settings.state_dir)) is not None:
        return running
    raise NoRedisError(
        "KNOUDS_REDIS_URL is not set and no embedded Redis runs in "
        f"{settings.state_dir}: set it, or start everything with `knouds-worker up`"
    )


def connect(
    settings: Settings,
    url: str | None = None,
    *,
    primary: Primary | None = None,
    fail_fast: bool = False,
) -> ArqRedis:
    """A client that retries commands while Redis is down for a moment.

    The scripts may be repeated safely: a commit finds its own revision. It connects with the first
    command. With `fail_fast` a command fails after two socket timeouts: an API has to answer
    503, a worker waits as long as it takes. `primary` learns which server the connections lead
    to; a process that lives for long has a `PrimaryWatch` on it.
    """
    primary = primary or Primary()
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "retry": Retry(ExponentialBackoff(cap=BACKOFF_CAP_S, base=0.02), MAX_RETRIES),
        "retry_on_error": [ConnectionError, TimeoutError, BusyLoadingError],
    }
    options |= {"max_connections": MAX_CONNECTIONS, "timeout": POOL_WAIT_S}
    arq: dict[str, Any] = {
        "job_serializer": serialize,
        "job_deserializer": deserialize,
        "default_queue_name": f"{settings.namespace}:queue",
    }
    if settings.sentinel is not None and url is None:
        pool = _sentinel_pool(settings.sentinel, options, primary)
    else:
        address, *_ = (full := url or redis_url(settings)).partition("?")
        options |= redis_options(full)
        if address.startswith("unix:"):
            del options["socket_keepalive"]  # a socket of the machine has none
        pool = cast("Any", ConnectionPool).from_url(address, primary=primary, **options)
    if fail_fast:
        pool.connection_kwargs["retry"] = Retry(
            ExponentialBackoff(cap=BACKOFF_CAP_S, base=0.02), FAIL_FAST_RETRIES
        )
        # On a server that accepts and stays silent, redis-py's health check connects from within
        # connecting, without end.
        pool.connection_kwargs["health_check_interval"] = 0
    return ArqRedis(pool_or_conn=pool, **arq)


def _sentinel_pool(found: SentinelAddress, options: dict[str, Any], primary: Primary) -> Any:
    tls = {name: value for name, value in found.options.items() if name.startswith("ssl_")}
    sentinel_options: dict[str, Any] = {
        "username": found.sentinel_username,
        "password": _plain(found.sentinel_password),
        "socket_timeout": ANSWER_TIMEOUT_S,
        "socket_keepalive": True,
        "ssl": found.is_tls,
        **tls,
    }
    clients = [ArqRedis(host=host, port=port, **sentinel_options) for host, port in found.nodes]
    primary.sentinels = SentinelClients(clients, found.service)
    return cast("Any", ConnectionPool)(
        primary=primary,
        connection_class=SSLConnection if found.is_tls else Connection,
        db=found.db,
        username=found.username,
        password=_plain(found.password),
        **{**options, **found.options, **tls},
    )


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
