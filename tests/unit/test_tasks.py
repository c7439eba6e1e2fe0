"""Tasks: cancelled ones have ended, and shielded ones are completed."""

import asyncio

from worker.tasks import cancel_and_wait, finish_despite_cancel


async def test_a_shielded_write_is_done_however_often_its_task_is_cancelled() -> None:
    begun, may_go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def record() -> None:
        begun.set()
        await may_go_on.wait()
        done.set()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await finish_despite_cancel(record())

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    may_go_on.set()
    await cancel_and_wait(task)
    assert done.is_set()
    assert task.cancelled()
