"""A worker beside a newer version: it leaves the newer records alone, and works on with its own."""

import time
from typing import Any

import msgspec
from arq import ArqRedis

from jobs.job import JOB_SCHEMA, Job
from jobs.lanes import JobId
from jobs.states import State
from tests.api.job_factory import JobFactory
from tests.engine.live_system import LiveSystem, wait_until
from worker.clock import SystemClock

LONG_AGO = 1.0
"""Unix seconds: due, expired, past every deadline and retention."""


async def _write_as_newer_version(system: LiveSystem, redis: ArqRedis, job: Job) -> None:
    """Rewrite a record as the next schema does, its index entries long due."""
    record = msgspec.to_builtins(job) | {"schema": JOB_SCHEMA + 1, "shape": {"of": "later"}}
    await redis.hset(system.store.keys.job(job.id), "rec", msgspec.json.encode(record))  # type: ignore[misc,arg-type]
    for key in await system.indexes_with(job.id):
        await redis.zadd(key, {job.id: LONG_AGO}, xx=True)


async def _contents(system: LiveSystem, redis: ArqRedis, job_ids: list[str]) -> dict[str, Any]:
    """The record of each job, and its score in each index that lists it."""
    found: dict[str, Any] = {}
    for job_id in job_ids:
        found[job_id] = await redis.hgetall(system.store.keys.job(job_id))  # type: ignore[misc]
        for key in await system.indexes_with(job_id):
            found[f"{job_id} in {key}"] = await redis.zscore(key, job_id)
    return found


async def test_newer_records_stay_as_they_are_and_block_nobody(
    system: LiveSystem, redis: ArqRedis
) -> None:
    factory = JobFactory(system.store, SystemClock())
    jobs = [
        await factory.queued("queued", priority=9),
        await factory.queued("scheduled", state=State.SCHEDULED, due_at=LONG_AGO),
        await factory.submitting("submitting"),
        await factory.running("running"),
        await factory.retrying("retrying"),
        await factory.uncertain("uncertain"),
        await factory.succeeded("succeeded"),
        await factory.dead("dead"),
    ]
    for job in jobs:
        await _write_as_newer_version(system, redis, job)
    ids = [job.id for job in jobs]
    before = await _contents(system, redis, list(ids))
    async with system.worker(max_jobs=2, retention_s=60.0, lease_s=0.5):
        for number in range(3):
            good = await system.enqueue(label=f"good-{number}")
            assert (await system.until(good)).state is State.SUCCEEDED
        started = time.time()

        async def has_worked_on() -> bool:
            return time.time() - started > 2.5  # a tick of the scheduler, and of the rescuer

        await wait_until(has_worked_on, "every service had its turn")
    assert await _contents(system, redis, list(ids)) == before
    assert (await system.store.jobs.load(JobId("queued"))) is None
