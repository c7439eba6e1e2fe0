"""Connections to Redis: one pool, retried with backoff, bounded in every wait.

The `Retry` must be the asyncio one, and the socket timeout ours: with the sync class retries are
silently off, and without a timeout a black-holed connection hangs for ever.
"""

from typing import Any, Final, cast

from arq import ArqRedis
from redis.asyncio import BlockingConnectionPool, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError  # noqa: A004

from config.settings import Settings
from worker.redis.embedded import running_url
from worker.redis.hiredis_packer import pack_with_hiredis
from worker.store.arq_codec import deserialize, serialize

MAX_CONNECTIONS: Final = 64
SOCKET_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 3.0
POOL_WAIT_S: Final = 10.0
MAX_RETRIES: Final = 8
BACKOFF_CAP_S: Final = 0.5

MAX_SENTINEL_CONNECTIONS: Final = 1_024
"""redis-py's Sentinel pool does not wait for a free connection, it refuses: so it must not fill."""


class NoRedisError(Exception):
    """No Redis is configured, and none runs in the state folder."""


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


def connect(settings: Settings, url: str | None = None) -> ArqRedis:
    """A client whose commands are retried while Redis is away for a moment.

    Our scripts may be repeated safely: a commit finds its own revision. Nothing is sent before the
    first command.
    """
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "retry": Retry(ExponentialBackoff(cap=BACKOFF_CAP_S, base=0.02), MAX_RETRIES),
        "retry_on_error": [ConnectionError, TimeoutError, BusyLoadingError],
    }
    arq: dict[str, Any] = {
        "job_serializer": serialize,
        "job_deserializer": deserialize,
        "default_queue_name": f"{settings.namespace}:queue",
    }
    if settings.sentinel is not None and url is None:
        return _connect_through_sentinel(settings, options, arq)
    pool = cast("Any", BlockingConnectionPool).from_url(
        url or redis_url(settings),
        max_connections=MAX_CONNECTIONS,
        timeout=POOL_WAIT_S,
        **options,
    )
    pack_with_hiredis(pool)
    return ArqRedis(pool_or_conn=pool, **arq)


def _connect_through_sentinel(
    settings: Settings,
    options: dict[str, Any],
    arq: dict[str, Any],
) -> ArqRedis:
    found = settings.sentinel
    if found is None:
        raise NoRedisError("KNOUDS_REDIS_URL does not name a Sentinel")
    login = {
        "username": found.username,
        "password": found.password.get_secret_value() if found.password else None,
    }
    asked = {"socket_timeout": CONNECT_TIMEOUT_S}
    sentinel = cast("Any", Sentinel)(list(found.nodes), sentinel_kwargs=asked)
    primary = sentinel.master_for(
        found.service,
        db=found.db,
        max_connections=MAX_SENTINEL_CONNECTIONS,
        **login,
        **options,
    )
    pack_with_hiredis(primary.connection_pool)
    return ArqRedis(pool_or_conn=primary.connection_pool, **arq)
