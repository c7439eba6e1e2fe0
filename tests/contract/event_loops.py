"""Runs a test on both event loops; an exception in a callback fails it."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on each loop; an exception that a callback raised fails it."""

    async def watched(kwargs: dict[str, Any]) -> None:
        errors: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        await test(**kwargs)
        assert not errors, errors

    @functools.wraps(test)
    def run(*, on_loop: str, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=FACTORIES[on_loop]) as runner:
            runner.run(watched(kwargs))

    parameters = list(inspect.signature(test).parameters.values())
    on_loop = inspect.Parameter("on_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__dict__["__signature__"] = inspect.Signature([*parameters, on_loop])
    del run.__dict__["__wrapped__"]
    on_each: Callable[..., None] = pytest.mark.parametrize("on_loop", FACTORIES)(run)
    return on_each
