"""A worker whose Redis refuses: it goes on afterwards, loses nothing and pays nothing twice."""

import asyncio

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from jobs.states import State
from tests.engine.live_system import LiveSystem, wait_until
from tests.refusing_redis import USER, RefusingRedis, refused
from tests.refusing_redis import server as server  # noqa: PLC0414


@pytest.mark.parametrize("name", ["oom", "readonly", "no right to run scripts", "maxclients"])
async def test_ends_that_come_while_redis_refuses_are_written_afterwards(
    system: LiveSystem, server: RefusingRedis, redis_url: str, name: str
) -> None:
    async with system.worker(redis_url=SecretStr(server.url)):
        running = [await system.enqueue(label=f"r{n}", duration_s=1.0) for n in range(3)]
        for job_id in running:
            await system.until(job_id, State.RUNNING)
        sync = await system.enqueue("kling-2-5", label="sync", duration_s=1.0)
        await system.until(sync, State.RUNNING)
        with capture_logs() as logs:
            async with refused(server, name, redis_url) as code:

                async def is_retried() -> bool:
                    """The outcome of the sync run, which no poll can fetch again, is kept."""
                    return "store_call.retried" in {line["event"] for line in logs}

                await wait_until(is_retried, f"an outcome that waits for Redis ({code})")
            for job_id in (*running, sync):
                assert (await system.until(job_id)).state is State.SUCCEEDED
        later = await system.enqueue(label="later")
        assert (await system.until(later)).state is State.SUCCEEDED
    assert "service.failed" not in {line["event"] for line in logs}
    for label in ("r0", "r1", "r2", "sync", "later"):
        assert (await system.ledger(label))["started"] == 1, "each is paid for once"


async def test_a_worker_without_channels_finds_its_work_by_polling(
    system: LiveSystem, server: RefusingRedis
) -> None:
    await server.run(("ACL SETUSER", USER, "resetchannels"))
    with capture_logs() as logs:
        async with system.worker(redis_url=SecretStr(server.url)):
            job_ids = [await system.enqueue(label=f"p{n}") for n in range(10)]
            settled = await asyncio.gather(*map(system.until, job_ids))
    assert {job.state for job in settled} == {State.SUCCEEDED}
    refusals = [line for line in logs if line["event"] == "wakeups.refused"]
    assert [line["error"] for line in refusals] == ["NOPERM"], "one line, not one a job"
    lost = [line for line in logs if line["event"] == "subscription.lost"]
    assert len(lost) == len({line["channel"] for line in lost})
