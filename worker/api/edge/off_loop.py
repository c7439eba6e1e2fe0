"""Parses what is large beside the event loop, one at a time: one at a time bounds the memory."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES: Final = 64 << 10
"""From here on a thread is worth its cost; below, parsing takes about a millisecond."""

_PARSER: Final = ThreadPoolExecutor(1, "parser")


async def parse_off_loop(
    size_bytes: int, parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """What `parse` returns or raises; it gets values, and touches nothing else."""
    if size_bytes < LARGE_BYTES:
        return parse(*args, **kwargs)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_PARSER, lambda: parse(*args, **kwargs))
