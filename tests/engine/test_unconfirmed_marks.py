"""A submit whose mark is on no replica is not sent, and its job is not lost."""

from arq import ArqRedis

from jobs.states import State
from tests.engine.live_system import LiveSystem, wait_until


async def test_nothing_is_submitted_until_a_replica_confirms_the_mark(
    system: LiveSystem,
) -> None:
    async with system.worker(redis_wait_replicas=1, redis_wait_ms=20):
        job_id = await system.enqueue(label="it")

        async def returned() -> bool:
            events = (await system.job(job_id)).events
            return sum(event.name == "send" for event in events) >= 2

        await wait_until(returned, "its mark was written and taken back, twice")
        job = await system.job(job_id)
        assert job.state in (State.QUEUED, State.SUBMITTING)
        assert (job.spent, job.execution_id) == (0, None)
        assert await system.labels() == {}

        async def named() -> bool:
            blockers = await system.queries.why(await system.job(job_id))
            return any("KNOUDS_REDIS_WAIT_REPLICAS" in one.action for one in blockers)

        await wait_until(named, "why says what it waits for, and what to do")
    async with system.worker():
        await system.until(job_id, State.SUCCEEDED)
    assert (await system.ledger("it"))["started"] == 1


async def test_a_refused_wait_is_named_with_its_right(system: LiveSystem, redis: ArqRedis) -> None:
    await redis.execute_command("ACL", "SETUSER", "default", "-wait")  # type: ignore[no-untyped-call]
    try:
        async with system.worker(redis_wait_replicas=1, redis_wait_ms=20):
            job_id = await system.enqueue(label="it")

            async def named() -> bool:
                blockers = await system.queries.why(await system.job(job_id))
                return any("+wait" in one.action and "WAIT" in one.text for one in blockers)

            await wait_until(named, "why names the command and the right")
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+@all")  # type: ignore[no-untyped-call]
