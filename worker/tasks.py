"""Ending tasks for sure.

On Python 3.11 `asyncio.wait_for`, which redis-py's writes go through, returns its result instead of
the cancellation when both come at once: a single `task.cancel()` can be lost, and a loop that was
told to stop goes on for ever. So a task that has to end is told again until it has.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

RECANCEL_INTERVAL_S: Final = 0.1


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until every one has ended, however it ended."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=RECANCEL_INTERVAL_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def finish_despite_cancel(work: Coroutine[Any, Any, T]) -> T:
    """Finish work even where its task is told to end meanwhile, once or again and again.

    For what has to be on record of something that breaks off: short, and bounded by itself.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


def is_being_cancelled() -> bool:
    """Whether the running task was cancelled, even where the cancellation was swallowed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
