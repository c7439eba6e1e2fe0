"""The store of the settings, for commands that work on Redis itself and not over the API."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from worker.cli.exit_codes import InvalidSettings, RedisUnreachable

if TYPE_CHECKING:
    from config.settings import Settings
    from worker.store import Store

T = TypeVar("T")


def with_store(settings: "Settings", use: "Callable[[Store], Coroutine[Any, Any, T]]") -> T:
    """Call `use` with the store; raises `CommandFailure` where Redis is not set or away."""
    from redis.exceptions import RedisError  # noqa: PLC0415  not for --help

    from worker.compose.app import payload_cipher  # noqa: PLC0415  not for --help
    from worker.redis.connect import NoRedisError, connect  # noqa: PLC0415  not for --help
    from worker.store import open_store  # noqa: PLC0415  not for --help

    async def run() -> T:
        redis = connect(settings)
        try:
            cipher = payload_cipher(settings)
            return await use(open_store(redis, settings.namespace, cipher=cipher))
        finally:
            await redis.aclose(close_connection_pool=True)

    try:
        return asyncio.run(run())
    except NoRedisError as error:
        raise InvalidSettings(str(error)) from None
    except (RedisError, OSError) as error:
        raise RedisUnreachable(f"Redis: {error}; run `knouds-worker doctor`") from None
