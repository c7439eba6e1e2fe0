"""Workers are replaced, by real processes and signals, while sync runs are open."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from jobs.lanes import JobId, Lane
from jobs.states import Kind, State
from tests.engine.live_system import OPERATOR, LiveSystem, start_worker, wait_until
from worker.redis.connect import connect
from worker.store.workers import Heartbeat

SYNC_ONLY = "kling-2-5"


@asynccontextmanager
async def _workers(
    system: LiveSystem, count: int, **changes: object
) -> AsyncGenerator[list[asyncio.subprocess.Process]]:
    """Worker processes that the block stops; those it leaves are killed."""
    settings = system.settings.model_copy(update=changes)
    processes = [await start_worker(settings) for _ in range(count)]

    async def all_live() -> bool:
        return len(await system.queries.live_workers()) == count

    try:
        await wait_until(all_live, f"{count} workers")
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _heartbeat_of(system: LiveSystem, process: asyncio.subprocess.Process) -> Heartbeat:
    heartbeats = await system.queries.live_workers()
    return next(beat for beat in heartbeats if beat.pid == process.pid)


async def _stop(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGTERM)
    return await process.wait()


async def _enqueue(system: LiveSystem, prefix: str, count: int, duration_s: float) -> list[str]:
    ids = [f"{prefix}{n}" for n in range(count)]
    requests = [(JobId(i), system.request(SYNC_ONLY, label=i, duration_s=duration_s)) for i in ids]
    await system.enqueuer.enqueue_many(requests)
    return ids


async def _know_sync_only(system: LiveSystem) -> None:
    await system.store.holds.remember_sync_only(Lane("default", Kind.MODEL, SYNC_ONLY), 4e9)


async def test_a_rolling_restart_under_sync_runs_cuts_none_of_them(system: LiveSystem) -> None:
    await _know_sync_only(system)
    async with _workers(system, 3, shutdown_grace_s=630) as (*old, successor):
        await system.until(await system.enqueue(label="first"))  # the rate limit is known now
        ids: list[str] = []
        for number, process in enumerate(old):
            ids += await _open_runs_on(system, process, f"under-way{number}")
            stopped = asyncio.create_task(_stop(process))
            ids += await _enqueue(system, f"later{number}-", 5, 0.2)
            assert await stopped == 0
        done = await system.all_until(ids)
        assert await _stop(successor) == 0
    assert {job.state for job in done} == {State.SUCCEEDED}
    assert {label["started"] for label in (await system.labels()).values()} == {1}


async def _open_runs_on(
    system: LiveSystem, process: asyncio.subprocess.Process, prefix: str
) -> list[str]:
    """Enqueue sync runs until this worker, too, has one open; any worker may take them."""
    ids: list[str] = []
    for number in range(50):
        ids += await _enqueue(system, f"{prefix}-{number}-", 2, 3)
        jobs = await system.all_until(ids, State.RUNNING, State.SUCCEEDED)
        running = [job.owner or "" for job in jobs if job.state is State.RUNNING]
        if any(f"-{process.pid}-" in owner for owner in running):
            return ids
    raise AssertionError(f"worker {process.pid} never took a job")


async def test_more_signals_end_a_long_wait_and_what_is_cut_is_uncertain(
    system: LiveSystem,
) -> None:
    await _know_sync_only(system)
    async with _workers(system, 1, shutdown_grace_s=630) as (process,):
        (job_id,) = await _enqueue(system, "long", 1, 120)
        await system.until(job_id, State.RUNNING)
        process.send_signal(signal.SIGTERM)

        async def is_stopping() -> bool:
            return (await _heartbeat_of(system, process)).stopping

        await wait_until(is_stopping, "the worker is stopping")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    job = await system.job(job_id)
    assert job.parked_as == "uncertain"


async def test_a_drained_worker_takes_no_jobs_and_finishes_what_it_has(
    system: LiveSystem, redis_url: str
) -> None:
    await _know_sync_only(system)
    async with system.processes(1, lease_s=1) as (pid,):
        (open_run,) = await _enqueue(system, "open", 1, 3)
        await system.until(open_run, State.RUNNING)
        polled = await system.enqueue(job_id="polled", duration_s=3)
        await system.until(polled, State.RUNNING)
        (worker,) = await system.queries.live_workers()
        await system.actions.drain_worker(worker.id, OPERATOR)

        async def is_drained() -> bool:
            (beat,) = await system.queries.live_workers()
            return beat.drained

        await wait_until(is_drained, "the worker says that it is drained")
        waiting = await system.enqueue(job_id="waiting")
        await system.all_until([open_run, polled], State.SUCCEEDED)
        assert (await system.job(waiting)).state is State.QUEUED
        await _leave_in_arqs_queue(system, redis_url, "of-plain-arq")
        assert await system.store.jobs.load("of-plain-arq") is None
        blockers = await system.queries.why(await system.job(waiting))
        assert "worker" in " ".join(blocker.text for blocker in blockers).lower()
        async with system.worker(lease_s=1):
            taken = await system.until(waiting, State.SUCCEEDED)
            await system.until_on_record("of-plain-arq")
    (sent,) = (event for event in taken.events if event.name == "send")
    assert f"-{pid}-" not in sent.by, "the successor takes it"


async def test_a_drain_by_mistake_is_undone_and_both_take_effect_at_once(
    system: LiveSystem,
) -> None:
    """Long before the next heartbeat, which comes after 20 s here."""
    async with system.worker(lease_s=60):
        await system.until(await system.enqueue(job_id="before"))
        (worker,) = await system.queries.live_workers()

        async def is_drained() -> bool:
            (beat,) = await system.queries.live_workers()
            return beat.drained

        async def is_undone() -> bool:
            return not await is_drained()

        await system.actions.drain_worker(worker.id, OPERATOR)
        await wait_until(is_drained, "the worker says that it is drained")
        waiting = await system.enqueue(job_id="waiting")
        await system.actions.undo_drain(worker.id, OPERATOR)
        await wait_until(is_undone, "the worker says that it is not drained")
        taken = await system.until(waiting, State.SUCCEEDED)
    assert [event.name for event in taken.events][:2] == ["enqueue", "admit"]


async def _leave_in_arqs_queue(system: LiveSystem, redis_url: str, job_id: str) -> None:
    """Enqueue a job with arq alone, and wait for more heartbeats of the one worker."""
    arq = connect(system.settings, redis_url)
    await arq.enqueue_job("run_model", "gpt-image-2", {"prompt": "a cat"}, _job_id=job_id)
    await arq.aclose(close_connection_pool=True)
    (before,) = await system.queries.live_workers()

    async def has_polled_the_queue() -> bool:
        (now,) = await system.queries.live_workers()
        return now.seen_at > before.seen_at + 1

    await wait_until(has_polled_the_queue, "more heartbeats")
