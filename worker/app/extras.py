"""What goes with an answer and is no part of what was asked: without Redis it is left out.

A change that is written has succeeded. If a read that comes after it failed the request, the client
would repeat the change.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError

from worker.store.refusals import error_word

log: Final = structlog.get_logger(__name__)

T = TypeVar("T")
D = TypeVar("D")

EXTRA_TIMEOUT_S: Final = 1.0
"""How long an answer waits for an extra: the change is written, and its client waits."""


async def extra_or(default: D, extra: Awaitable[T]) -> T | D:
    """The result of `extra`; `default` where Redis refuses it or does not answer in time."""
    try:
        async with asyncio.timeout(EXTRA_TIMEOUT_S):
            return await extra
    except (RedisError, OSError) as error:
        log.warning("extra.omitted", error=error_word(error))
        return default
