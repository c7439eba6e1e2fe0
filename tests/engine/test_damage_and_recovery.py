"""Laws under damage: bad jobs are isolated, lost data is restored, no living job expires."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from arq import ArqRedis

from jobs.indexes import Index, entries
from jobs.job import INPUTS_LOST
from jobs.lanes import JobId, Scope
from jobs.states import Kind, State
from jobs.unreadable import UNREADABLE
from tests.engine.live_system import OPERATOR, LiveSystem, redis_recovery, wait_until
from worker.app.action_table import JobAction
from worker.app.actions import Actions
from worker.clock import SystemClock
from worker.compose.api import running
from worker.compose.app import build_enqueuer
from worker.compose.runtime import Runtime
from worker.engine.deciders import INTERNAL
from worker.engine.services.redis_recovery import RedisRecovery
from worker.engine.services.scheduler import Scheduler
from worker.engine.submitter import Submitter
from worker.engine.unreadable_records import load_job
from worker.main import ResilientArqWorker, arq_settings
from worker.provider.knouds.client import KnoudsClient
from worker.redis.connection_pool import ConnectionPool
from worker.redis.primary import Primary
from worker.store.commit import VersionedJob
from worker.tasks import cancel_and_wait


async def _damage_record(system: LiveSystem, redis: ArqRedis, job_id: str) -> None:
    await redis.hset(system.store.keys.job(job_id), "rec", b'{"id": 7')  # type: ignore[misc,arg-type]


async def test_an_unreadable_record_becomes_a_dead_letter_and_blocks_nobody(
    system: LiveSystem, redis: ArqRedis
) -> None:
    bad = await system.enqueue(label="bad", priority=100)
    good = await system.enqueue(label="good")
    await _damage_record(system, redis, bad)
    async with system.worker(max_jobs=1):
        assert (await system.until(good)).state is State.SUCCEEDED
        dead = await system.job(bad)
    assert dead.state is State.DEAD
    assert dead.reason is not None
    assert dead.reason.code == UNREADABLE
    keys = system.store.keys
    assert await redis.hget(keys.job(bad), "unreadable") == b'{"id": 7'  # type: ignore[misc]
    own = {keys.entry(entry) for entry in entries(dead)}
    assert set(await system.indexes_with(bad)) == own, "it stands nowhere else"
    assert (await system.ledger("bad"))["posts"] == 0


async def test_a_running_job_whose_record_is_damaged_is_quarantined(
    system: LiveSystem, redis: ArqRedis
) -> None:
    async with system.worker():
        bad = await system.enqueue(label="bad", duration_s=0.6)
        await system.until(bad, State.RUNNING)
        await _damage_record(system, redis, bad)

        async def is_dead_letter() -> bool:
            stored = await load_job(system.store.jobs, bad, time.time())
            return stored is not None and stored.job.state is State.DEAD

        await wait_until(is_dead_letter, "the damaged job is a dead letter")
        inflight = system.store.keys.index(Index.INFLIGHT)
        assert await redis.zscore(inflight, bad) is None


async def test_a_job_that_makes_the_code_raise_is_quarantined_and_others_go_on(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = KnoudsClient.submit

    async def raising(
        self: KnoudsClient, kind: Any, target: str, *args: Any, **options: Any
    ) -> Any:
        if target == "suno":
            raise ZeroDivisionError
        return await submit(self, kind, target, *args, **options)

    monkeypatch.setattr(KnoudsClient, "submit", raising)
    async with system.worker():
        bad = await system.enqueue("suno", label="bad")
        good = await system.enqueue(label="good")
        job = await system.until(bad)
        assert (await system.until(good)).state is State.SUCCEEDED
    assert job.state is State.DEAD
    assert job.reason is not None
    assert job.reason.code == INTERNAL
    assert "ZeroDivisionError" in job.reason.message


async def test_a_poll_that_makes_the_code_raise_three_times_is_quarantined(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raising(_: KnoudsClient, *args: Any) -> Any:
        del args
        raise ZeroDivisionError

    monkeypatch.setattr(KnoudsClient, "poll", raising)
    async with system.worker(lease_s=0.2):
        job_id = await system.enqueue(label="it")
        job = await system.until(job_id)
    assert job.state is State.DEAD
    assert job.reason is not None
    assert str(job.execution_id) in job.reason.message, "the paid run can be found"


async def test_a_redis_that_lost_a_paid_submit_is_not_believed(
    system: LiveSystem, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is set back to before the submit, as after a lost tail of the AOF."""

    def distrust(_: RedisRecovery, now: float) -> bool:
        del now
        return False

    async with system.worker() as worker:
        primary = primary_of(worker)
        hold = await system.actions.place_hold(Scope("default"), OPERATOR)
        job_id = await system.enqueue(label="it", duration_s=1.0)
        before = await system.store.jobs.load(job_id)
        assert before is not None
        await system.actions.release_hold(hold.id, OPERATOR)
        await system.until(job_id, State.RUNNING)
        with monkeypatch.context() as untrusted:  # as while a connection is new
            untrusted.setattr(RedisRecovery, "is_trusted", distrust)
            await _roll_back(system, redis, before)
            assert (await system.job(job_id)).state is State.QUEUED
            primary.replace("a failover")
        done = await system.until(job_id, State.SUCCEEDED)
    assert done.execution_id
    counted = await system.ledger("it")
    assert (counted["posts"], counted["started"]) == (1, 1)


async def _lose(system: LiveSystem, job_id: str, redis: ArqRedis) -> None:
    """Remove the inputs of a job, as a restore without them does."""
    assert await redis.hdel(system.store.keys.job(job_id), "inputs") == 1  # type: ignore[misc]


async def test_a_job_without_inputs_is_never_submitted_until_its_app_sends_them_again(
    system: LiveSystem, redis: ArqRedis
) -> None:
    hold = await system.actions.place_hold(Scope("default"), OPERATOR)
    job_id = await system.enqueue(label="it")
    await _lose(system, job_id, redis)
    async with system.worker():
        await system.actions.release_hold(hold.id, OPERATOR)
        job = await system.until(job_id, State.PARKED)
        assert job.parked_as == INPUTS_LOST
        assert job.reason is not None
        assert "same id" in job.reason.action
        released = await system.actions.act(JobAction.RELEASE, job_id, OPERATOR)
        assert released.state is State.QUEUED
        await system.until(job_id, State.PARKED)
        assert await system.labels() == {}, "nothing was submitted"
        assert await system.enqueue(label="it", job_id=job_id) == job_id
        assert (await system.job(job_id)).parked_as == INPUTS_LOST, "only an operator releases it"
        await system.actions.act(JobAction.RELEASE, job_id, OPERATOR)
        await system.until(job_id, State.SUCCEEDED)
    assert (await system.ledger("it"))["started"] == 1
    assert list(await system.labels()) == ["it"]


async def test_an_admitted_job_whose_inputs_were_lost_is_parked_too(
    system: LiveSystem, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(_: Submitter, *admitted: object) -> None:
        del admitted

    monkeypatch.setattr(Submitter, "cache_admitted", forget)
    load = Submitter.submit

    async def losing(self: Submitter, submits: Sequence[tuple[str, str]]) -> None:
        for job_id, _ in submits:
            await redis.hdel(system.store.keys.job(job_id), "inputs")  # type: ignore[misc]
        await load(self, submits)

    monkeypatch.setattr(Submitter, "submit", losing)
    async with system.worker():
        job_id = await system.enqueue(label="it")
        job = await system.until(job_id, State.PARKED)
    assert job.parked_as == INPUTS_LOST
    assert job.submits == 0
    assert await system.labels() == {}


async def test_a_job_that_redis_lost_is_restored_with_the_inputs_of_its_submit(
    system: LiveSystem, redis: ArqRedis
) -> None:
    async with system.worker() as worker:
        recovery = await redis_recovery(worker)
        job_id = await system.enqueue(label="it", duration_s=5.0)
        await system.until(job_id, State.RUNNING)
        inputs = (await system.store.payloads.read(job_id)).inputs
        assert inputs
        await redis.delete(system.store.keys.job(job_id))
        primary_of(worker).replace("a failover")

        async def restored() -> bool:
            return await system.store.jobs.load(job_id) is not None

        await wait_until(restored, "the job is restored")
    found = await system.store.payloads.read(job_id)
    assert (found.inputs, found.result) == (inputs, None)
    job = await system.job(job_id)
    assert recovery.remembered.inputs_of(job) == inputs
    resubmitted = msgspec.structs.replace(job, submits=job.submits + 1)
    assert recovery.remembered.inputs_of(resubmitted) is None, (
        "another worker may have sent edited ones"
    )


async def _roll_back(system: LiveSystem, redis: ArqRedis, to: VersionedJob) -> None:
    """Write an older version over the present one, with its entries, in one step."""
    present = await system.store.jobs.load(to.job.id)
    assert present is not None
    written = await system.store.jobs.commit(present, to.job)
    assert isinstance(written, VersionedJob)
    await redis.hset(system.store.keys.job(to.job.id), "rev", to.rev)  # type: ignore[misc]


def primary_of(worker: ResilientArqWorker) -> Primary:
    """What the connections of a worker lead to."""
    pool = worker.pool.connection_pool
    assert isinstance(pool, ConnectionPool)
    return pool.primary


async def test_a_service_that_keeps_failing_is_restarted_and_shown_in_readyz(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raising(_: Scheduler, now: float) -> float:
        raise ZeroDivisionError(now)

    async def troubles() -> dict[str, dict[str, str]]:
        async with system.http.get(f"{url}/readyz") as answer:
            found: dict[str, dict[str, str]] = (await answer.json())["troubles"]
            return found

    async def is_reported() -> bool:
        return [*(await troubles()).values()] == [{"scheduler": "ZeroDivisionError"}]

    async def well() -> bool:
        return not await troubles()

    settings = system.settings.model_copy(update={"http_port": 0})
    async with running(settings, system.store) as url, system.worker(lease_s=0.3):
        with monkeypatch.context() as broken:
            broken.setattr(Scheduler, "tick", raising)
            await wait_until(is_reported, "the failing scheduler is reported")
            assert (await system.until(await system.enqueue(label="it"))).spent == 0
        await wait_until(well, "the timer is well again")


async def test_sixty_days_do_nothing_to_what_waits(system: LiveSystem) -> None:
    """Scheduled, parked, dead or behind a hold for 60 days: all are kept, and can be released."""
    long_ago = SystemClock()
    now = long_ago.now
    long_ago.now = lambda: now() - 60 * 86_400  # type: ignore[method-assign]
    then = build_enqueuer(system.settings, system.store, long_ago)
    pause = await Actions(system.store, long_ago).place_hold(Scope("default/workflow"), OPERATOR)
    behind = await then.enqueue(
        system.request("my-pipeline", kind=Kind.WORKFLOW, label="behind"), job_id=JobId("behind")
    )
    due = await then.enqueue(system.request(label="due", delay_s=60 * 86_400.0 - 1))
    parked = await then.enqueue(system.request("suno", label="parked"), job_id=JobId("parked"))
    await Actions(system.store, long_ago).act(JobAction.PARK, "parked", OPERATOR)
    async with system.worker(retention_s=1.0):
        assert (await system.until(due.job.id)).state is State.SUCCEEDED
        assert (await system.job(behind.job.id)).state is State.QUEUED
        assert (await system.job(parked.job.id)).state is State.PARKED
        await system.actions.release_hold(pause.id, OPERATOR)
        await system.actions.act(JobAction.RELEASE, "parked", OPERATOR)
        for job_id in ("behind", "parked"):
            assert (await system.until(job_id)).state is State.SUCCEEDED


async def test_no_key_of_a_living_job_expires(system: LiveSystem) -> None:
    async with system.worker():
        await system.until(await system.enqueue(label="a", fault="MODEL_TIER_REQUIRED"))
        await system.until(await system.enqueue("suno", label="b", fault="INVALID_INPUTS"))
        await system.enqueue(label="c")
        await system.enqueue("suno", label="d", delay_s=60 * 86_400)
        running = await system.enqueue("seedance-2-0", label="e", duration_s=60)
        await system.until(running, State.RUNNING)
    keys = system.store.keys
    series = keys.series(10, 0).removesuffix("10:0")
    forgotten = (series, keys.flush(""), keys.run_owner(""))
    for key in await system.keys():
        expires = await system.store.client.call("PTTL", key) != -1
        assert expires == key.startswith(forgotten), (
            f"{key}: nothing but counts and the owners of runs is forgotten"
        )


async def test_what_a_killed_worker_left_is_rescued_by_what_is_on_record(
    system: LiveSystem,
) -> None:
    """Never sent: sent now. Running async: polled to its end. Being sent: uncertain."""
    async with system.worker_to_kill(lease_s=1) as process:
        running = await system.enqueue(label="running", duration_s=2.0)
        sync = await system.enqueue("kling-2-5", label="sync", duration_s=5.0)
        hanging = await system.enqueue("suno", label="hanging", fault="hang")
        await system.until(running, State.RUNNING)
        await system.until(sync, State.RUNNING)

        async def sent() -> bool:
            counted = await system.labels()
            posts = [counted.get(label, {}).get("posts", 0) for label in ("sync", "hanging")]
            return posts == [2, 1]

        await wait_until(sent, "the sync run and the hanging submit are under way")
        process.kill()
        await process.wait()
    async with system.worker(lease_s=1.0):
        done = await system.until(running, State.SUCCEEDED)
        lost = await asyncio.gather(system.until(sync), system.until(hanging))
    assert done.spent == 0
    assert [job.parked_as for job in lost] == ["uncertain", "uncertain"]
    posts = {name: label["posts"] for name, label in (await system.labels()).items()}
    assert posts == {"running": 1, "sync": 2, "hanging": 1}


async def test_a_worker_told_to_stop_while_it_starts_ends_cleanly(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = asyncio.Event()

    async def hangs(_: object) -> None:
        running.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("worker.compose.runtime.check_redis_at_start", hangs)
    wanted = arq_settings(system.settings)
    ctx: dict[str, Any] = {"redis": wanted["redis_pool"]}
    start = asyncio.create_task(wanted["on_startup"](ctx))
    await running.wait()
    runtime: Runtime = ctx["runtime"]

    async def beats() -> bool:
        return bool(await system.store.workers.heartbeats())

    await wait_until(beats, "its first heartbeat")
    await cancel_and_wait(start)
    await wanted["on_shutdown"](ctx)
    assert await system.store.workers.heartbeats() == [], "it said good-bye"
    assert runtime.health.failing == {}
    await wanted["redis_pool"].aclose(close_connection_pool=True)
