"""Redis is killed and restarted under load: workers and API stay up, acknowledged jobs stay."""

import asyncio
import random
import time
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.job import Job
from tests.chaos.chaos_system import chaos_system
from tests.chaos.claims import check_claims
from tests.chaos.conftest import Report
from tests.chaos.retrying_app import retrying_app
from tests.chaos.scale import SEED, TIME_LIMIT_S, scaled

pytestmark = [pytest.mark.timeout(TIME_LIMIT_S)]

Outage = tuple[float, float]


async def test_a_redis_that_dies_under_load_forgets_nothing_it_acknowledged(
    tmp_path: Path, report: Report
) -> None:
    """Every second outage lasts until the API says 503; the others are over in a moment."""
    kills, jobs = scaled(short=3, full=12), scaled(short=120, full=900)
    rng = random.Random(SEED)  # noqa: S311  a schedule
    outages: list[Outage] = []
    async with chaos_system(tmp_path, SEED) as it, retrying_app(it) as api:
        app = asyncio.create_task(api.enqueue(it.requests(jobs), pause_s=0.01))
        for number in range(kills):
            await asyncio.sleep(rng.uniform(0.2, 1.0))
            killed_at = time.time()
            await it.redis.kill()
            if number % 2 == 0:
                await api.until_unavailable()
            else:
                await asyncio.sleep(rng.uniform(0.0, 0.5))
            await it.redis.start()
            outages.append((killed_at, time.time()))
            await it.check_indexes()
        it.acknowledged += await app
        assert [process.returncode for process in it.workers.running] == [None, None]
        assert api.statuses.keys() <= {200, 202, 503}
        await check_claims(
            it,
            report,
            "Redis",
            f"{kills} kills, {api.statuses[503]} x 503",
            explains=lambda job: _was_open_in(job, outages),
        )


def _was_open_in(job: Job, outages: list[Outage]) -> bool:
    """Its submit or sync run was under way while Redis was down."""
    ends = ("park_refused", "park_uncertain", "park_stuck", "park_failed_run")
    times = [event.at for event in job.events if event.name in ("send", "open", *ends)]
    return any(
        sent < back and ended > gone for sent, ended in pairwise(times) for gone, back in outages
    )
