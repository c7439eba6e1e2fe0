"""A Redis that is emptied under load, on the same server: the running jobs come back, loudly."""

import pytest
from structlog.testing import capture_logs

from jobs.states import State
from tests.engine.live_system import LiveSystem, redis_recovery, wait_until
from worker.doctor.findings import Level
from worker.doctor.probes import check_workers
from worker.engine import remembered_jobs
from worker.engine.services.redis_recovery import EMPTIED


async def _empty(system: LiveSystem) -> None:
    """Delete every key of the namespace, as `FLUSHDB` does."""
    await system.store.client.call("DEL", *await system.keys())


async def test_running_jobs_are_written_back_and_the_loss_is_reported(system: LiveSystem) -> None:
    async with system.worker() as worker:
        job_ids = [await system.enqueue(label=f"j{n}", duration_s=1.5) for n in range(5)]
        for job_id in job_ids:
            await system.until(job_id, State.RUNNING)
        with capture_logs() as logs:
            await _empty(system)
            for job_id in job_ids:
                await system.until_on_record(job_id)
                assert (await system.until(job_id)).state is State.SUCCEEDED
        (line,) = [line for line in logs if line["event"] == "redis.data_lost"]
        assert (line["log_level"], line["restored"]) == ("error", 5)
        for n in range(5):
            assert (await system.ledger(f"j{n}"))["posts"] == 1, "nothing is paid for twice"

        async def is_reported() -> bool:
            beats = await system.store.workers.heartbeats()
            return any(EMPTIED in beat.failures for beat in beats)

        await wait_until(is_reported, "the loss in the heartbeat")
        now = worker.ctx["runtime"].context.clock.now()
        found = await check_workers(system.store, system.settings, now)
        assert any(f.level is Level.WARN and "Redis lost its data" in f.text for f in found)


async def test_a_new_namespace_and_a_second_worker_are_no_loss(system: LiveSystem) -> None:
    with capture_logs() as logs:
        async with system.worker(), system.worker():
            job_id = await system.enqueue(label="it", duration_s=1.2)
            assert (await system.until(job_id)).state is State.SUCCEEDED
    assert "redis.data_lost" not in {line["event"] for line in logs}


async def test_a_job_that_is_enqueued_again_before_any_worker_noticed_is_not_paid_again(
    system: LiveSystem,
) -> None:
    """The app answers the loss faster than the workers; the run under way is written back."""
    async with system.worker():
        job_id = await system.enqueue(label="it", job_id="it", duration_s=1.5)
        await system.until(job_id, State.RUNNING)
        await _empty(system)
        assert await system.enqueue(label="it", job_id="it", duration_s=1.5) == "it"
        assert (await system.until(job_id)).state is State.SUCCEEDED
    assert (await system.ledger("it"))["posts"] == 1


@pytest.mark.parametrize("target", ["gpt-image-2", "kling-2-5"], ids=["polled", "sync"])
async def test_a_run_under_way_is_written_back_however_old_it_is(
    system: LiveSystem, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_jobs, "REMEMBER_S", -60.0)
    async with system.worker() as worker:
        recovery = await redis_recovery(worker)
        job_id = await system.enqueue(target, label="it", duration_s=3.0)
        await system.until(job_id, State.RUNNING)

        async def is_forgotten() -> bool:
            return not len(recovery.remembered)

        await wait_until(is_forgotten, "its submit is no longer remembered")
        await _empty(system)
        await system.until_on_record(job_id)
        assert (await system.until(job_id)).state is State.SUCCEEDED
    assert (await system.ledger("it"))["started"] == 1


async def test_the_result_of_an_async_run_is_written_back(system: LiveSystem) -> None:
    async with system.worker():
        job_id = await system.enqueue(label="it")
        await system.until(job_id, State.SUCCEEDED)
        result = (await system.store.payloads.read(job_id)).result
        polls = (await system.ledger("it"))["polls"]
        await _empty(system)
        assert (await system.until_on_record(job_id)).state is State.SUCCEEDED
    assert (await system.store.payloads.read(job_id)).result == result
    assert (await system.ledger("it"))["polls"] == polls, "nobody has to fetch it again"
