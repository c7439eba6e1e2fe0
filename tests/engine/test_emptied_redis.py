"""A Redis that is emptied under load, on the same server: the running jobs come back, loudly."""

from structlog.testing import capture_logs

from jobs.states import State
from tests.engine.live_system import LiveSystem, wait_until
from worker.doctor.findings import Level
from worker.doctor.probes import check_workers
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
