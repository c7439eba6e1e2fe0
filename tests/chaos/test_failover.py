"""The primary dies and a Sentinel promotes its replica, which may lack the last writes.

What is guaranteed: a run that was sent is never sent again as long as the worker that sent it
lives, because that worker writes its record again. A job that was only enqueued in the lost moment
is gone, and an app that enqueues it again with the same id gets one job. A record that comes back
from a worker that does not have the inputs waits for the app to enqueue it again.
"""

import asyncio
import time
from pathlib import Path

import pytest

from jobs.job import Job
from tests.chaos.chaos_system import chaos_system_over
from tests.chaos.claims import check_claims
from tests.chaos.conftest import Report
from tests.chaos.retrying_app import retrying_app
from tests.chaos.scale import SEED, TIME_LIMIT_S, scaled
from tests.chaos.sentinels import Sentinels

pytestmark = [pytest.mark.timeout(TIME_LIMIT_S)]

JOBS = scaled(short=100, full=400)


@pytest.mark.parametrize("lost_s", scaled(short=[0.7], full=[0.0, 0.7]))
async def test_a_failover_starts_nothing_twice_and_loses_nothing_that_was_sent(
    tmp_path: Path, report: Report, lost_s: float
) -> None:
    """The new primary may lack everything that was written in the last moment.

    The app enqueues everything again at once. So jobs that were lost before their submit exist
    again, and jobs that were submitted and not yet restored could be submitted again.
    """
    redis = Sentinels(tmp_path)
    try:
        await redis.start()
        async with chaos_system_over(redis.url, tmp_path, SEED) as it, retrying_app(it) as api:
            pids = [process.pid for process in it.workers.running]
            orders = it.requests(JOBS)
            app = asyncio.create_task(api.enqueue(orders, pause_s=0.01))
            await asyncio.sleep(it.rng.uniform(0.5, 0.8))
            if lost_s:
                await redis.cut_replication()
                await asyncio.sleep(lost_s)
            gone_at = time.time()
            await redis.primary.kill()
            await redis.until_promoted()
            promoted_at = time.time()
            await app
            it.acknowledged += await api.enqueue(orders, pause_s=0.0)
            await it.until_settled_or_parked()
            settled_s = time.time() - promoted_at
            assert [process.pid for process in it.workers.running] == pids
            assert [process.returncode for process in it.workers.running] == [None, None]
            assert api.statuses.keys() <= {200, 202, 503}
            restored = it.workers.logs.read_text().count("job.restored")
            assert restored > 0 or not lost_s, "the cut lost something that was sent"
            await check_claims(
                it,
                report,
                "failover",
                f"{lost_s} s lost, {restored} restored, promoted in {promoted_at - gone_at:.1f} s,"
                f" settled in {settled_s:.1f} s",
                explains=lambda job: _was_sent_before(job, promoted_at),
                may_lose_inputs=bool(lost_s),
            )
    finally:
        await redis.kill()


def _was_sent_before(job: Job, moment: float) -> bool:
    return job.sent_at is not None and job.sent_at < moment
