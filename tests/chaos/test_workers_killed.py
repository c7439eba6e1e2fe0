"""Workers are killed, frozen and restarted under load: nothing is paid twice, nothing is lost."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from jobs.job import Job
from jobs.lanes import Scope
from jobs.rate_limits import RateLimitBucket
from jobs.states import Mode
from tests.chaos.chaos_system import ASYNC, SYNC_ONLY, ChaosSystem, chaos_system
from tests.chaos.claims import check_claims, last_worker_pid
from tests.chaos.conftest import Report
from tests.chaos.scale import SEED, TIME_LIMIT_S, scaled
from tests.engine.live_system import wait_until

pytestmark = [pytest.mark.timeout(TIME_LIMIT_S)]

WORKERS = 2
LATE_ANSWER_S = 1.0
ROUTES = (Scope("default/model"), Scope("default/workflow"))


async def test_killed_workers_neither_repeat_nor_lose_a_run(tmp_path: Path, report: Report) -> None:
    kills, jobs = scaled(short=8, full=50), scaled(short=250, full=2_000)
    async with chaos_system(tmp_path, SEED, workers=WORKERS) as it:

        async def one_after_the_other(slot: int) -> None:
            rng = random.Random(f"{SEED}-{slot}")  # noqa: S311  a schedule
            for _ in range(kills // WORKERS):
                await it.enqueue(it.requests(jobs // kills))
                await it.workers.until_live(slot)
                await asyncio.sleep(rng.uniform(0.05, 1.2))
                await it.workers.kill(slot)
                await it.check_indexes()

        await asyncio.gather(*(one_after_the_other(slot) for slot in range(WORKERS)))
        await it.enqueue(it.requests(jobs - len(it.acknowledged)))
        found = await check_claims(
            it,
            report,
            "SIGKILL",
            f"{kills} kills, {it.snapshot_count} snapshots",
            explains=lambda job: _held_by(job, it.workers.killed),
        )
        assert 0 < len(found.uncertain) <= kills * it.system.settings.max_jobs


async def test_what_a_killed_worker_left_takes_no_room_from_the_living(
    tmp_path: Path, report: Report
) -> None:
    """A full lane continues although its worker died with every slot taken."""
    slots = 4
    async with chaos_system(tmp_path, SEED, workers=1, max_jobs=slots) as it:
        for route in ROUTES:  # or the first answer would be waited for
            await it.system.store.rate_limits.change(
                route, lambda _: RateLimitBucket(is_unlimited=True)
            )
        await it.enqueue(it.requests(slots * 6, targets=ASYNC, fault="slow", delay_s=1.0))

        async def slots_taken() -> bool:
            return len(await it.system.labels()) == slots

        await wait_until(slots_taken, "every slot submits")
        await it.workers.kill(0)
        await it.until_settled_or_parked(15.0)
        await check_claims(
            it, report, "one kill", "1 kill", lambda job: _held_by(job, it.workers.killed)
        )


async def test_a_frozen_worker_comes_back_to_answers_that_still_count(
    tmp_path: Path, report: Report
) -> None:
    """A worker frozen past its lease: its jobs are rescued; a late answer counts, once."""
    freezes, jobs = scaled(short=2, full=10), scaled(short=120, full=600)
    rng = random.Random(SEED)  # noqa: S311  a schedule
    async with chaos_system(tmp_path, SEED, workers=WORKERS) as it:
        for number in range(freezes):
            slot = number % WORKERS
            await it.enqueue(it.requests(jobs // freezes))
            await asyncio.sleep(rng.uniform(0.05, 0.6))
            await _until_submitting(it, it.workers.running[slot].pid)
            it.workers.freeze(slot)
            await _until_all_rescued(it, it.workers.running[slot].pid)
            await asyncio.sleep(rng.uniform(0.0, 1.0))
            await it.check_indexes()
            it.workers.thaw(slot)
        await it.until_settled_or_parked()

        async def all_heard() -> bool:
            found = await it.inspect()
            return all(found.never_started(job) for job in found.uncertain)

        await wait_until(all_heard, "every answer that lay there when a worker came back is used")
        pids = {process.pid for process in it.workers.running}
        found = await check_claims(
            it,
            report,
            "SIGSTOP",
            f"{freezes} stops past the lease",
            explains=lambda job: last_worker_pid(job) in pids,
        )
        assert found.uncertain_then_answered > 0


async def _until_submitting(it: ChaosSystem, pid: int) -> None:
    """Enqueue submits that are answered late, until the worker has sent one of them."""

    async def sent() -> bool:
        slow = it.requests(WORKERS, targets=ASYNC, fault="slow", delay_s=LATE_ANSWER_S)
        await it.enqueue(slow)
        ids = {job_id for job_id, _ in slow}

        async def all_posted() -> bool:
            return ids <= (await it.system.labels()).keys()

        await wait_until(all_posted, "the submits are at the provider")
        held = [stored.job for stored in await it.system.store.jobs.load_many(list(ids)) if stored]
        return any(job.owner and last_worker_pid(job) == pid for job in held)

    await wait_until(sent, f"a submit of {pid} waits for its answer")


async def _until_all_rescued(it: ChaosSystem, pid: int) -> None:
    """Wait until the rescuer took every job that a frozen worker had under a lease."""

    async def rescued() -> bool:
        ids = await it.system.store.jobs.expired_leases(time.time() + 3600, 5_000)
        held = [stored.job for stored in await it.system.store.jobs.load_many(ids) if stored]
        return not any(job.owner and last_worker_pid(job) == pid for job in held)

    await wait_until(rescued, f"the jobs of {pid} rescued")


async def test_rolling_restarts_cut_nothing_but_long_sync_runs(
    tmp_path: Path, report: Report
) -> None:
    restarts, jobs = scaled(short=2, full=20), scaled(short=80, full=1_000)
    rng = random.Random(SEED)  # noqa: S311  a schedule
    async with chaos_system(tmp_path, SEED, workers=WORKERS, shutdown_grace_s=1) as it:
        for number in range(restarts):
            slot = number % WORKERS
            orders = it.requests(jobs // restarts - 4)
            await it.enqueue([*orders, *it.requests(4, targets=SYNC_ONLY, duration_s=3.0)])
            await asyncio.sleep(rng.uniform(0.05, 0.8))
            await it.workers.restart(slot)
            await it.workers.until_live(slot)
        assert it.workers.exit_codes == [0] * restarts
        await check_claims(
            it, report, "SIGTERM", f"{restarts} rolling restarts", explains=_was_cut_at_the_limit
        )


def _held_by(job: Job, killed: dict[int, float]) -> bool:
    """Whether a worker sent it and was killed afterwards."""
    return job.sent_at is not None and job.sent_at <= killed.get(last_worker_pid(job), 0.0)


def _was_cut_at_the_limit(job: Job) -> bool:
    cut = job.reason is not None and "cut at shutdown" in job.reason.message
    return cut and job.mode is Mode.SYNC
