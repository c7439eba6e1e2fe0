"""Every test of this folder runs on both event loops; an exception in a callback fails it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

import pytest_asyncio
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LOOPS: Final[Mapping[str, LoopFactory]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories() -> Mapping[str, LoopFactory]:
    """Run each test on asyncio's own loop and on uvloop, which the worker uses."""
    return LOOPS


@pytest_asyncio.fixture(autouse=True)
async def no_callback_fails() -> AsyncGenerator[None]:
    """Fail the test if a callback of its loop raises."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    yield
    assert not errors, errors
