"""Ends tasks reliably.

On Python 3.11 `asyncio.wait_for`, which redis-py's writes go through, returns its result instead of
the cancellation when both come at once: a single `task.cancel()` can be lost, and the task would
run for ever. So a task that has to end is cancelled again until it has.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

RECANCEL_INTERVAL_S: Final = 0.1


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks, and wait until each has ended, with whatever result."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=RECANCEL_INTERVAL_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def finish_despite_cancel(work: Coroutine[Any, Any, T]) -> T:
    """Finish work even when its task is cancelled meanwhile, once or repeatedly.

    For short, bounded work, such as the audit entry of an interrupted bulk call.
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
