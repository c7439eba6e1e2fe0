"""A primary freezes, a Sentinel promotes a replica, and the former primary goes on for seconds.

It still takes writes as a primary, until the Sentinels make it a replica and it discards them. What
is guaranteed: no run is sent twice. No job is lost whose enqueue a replica has confirmed; without
`KNOUDS_REDIS_WAIT_REPLICAS` the count of those that are lost is in the table.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Final

import pytest

from jobs.job import Job
from tests.chaos.chaos_system import ChaosSystem, chaos_system_over
from tests.chaos.claims import check_claims
from tests.chaos.conftest import Report
from tests.chaos.retrying_app import RetryingApp, retrying_app
from tests.chaos.scale import FULL, SEED, TIME_LIMIT_S
from tests.chaos.sentinels import Sentinels

pytestmark = [
    pytest.mark.timeout(TIME_LIMIT_S),
    pytest.mark.skipif(not FULL, reason="takes half a minute a round: run it by `make chaos`"),
]

ROUNDS: Final = int(os.environ.get("CHAOS_ROUNDS", "2"))
"""Freezes, for each of the two settings. `CHAOS_ROUNDS=20` takes 20 minutes."""

FROZEN_S: Final = 4.0
DEMOTED_WITHIN_S: Final = 30.0
APPS: Final = 4
PAUSE_S: Final = 0.1


@pytest.mark.parametrize("replicas", [0, 1], ids=["without WAIT", "with WAIT"])
@pytest.mark.parametrize("number", range(ROUNDS))
async def test_a_frozen_primary_is_not_written_to_after_a_promotion(
    tmp_path: Path, report: Report, replicas: int, number: int
) -> None:
    redis = Sentinels(tmp_path, replicas=2, sentinels=3)
    seed = SEED + number
    waits = {"redis_wait_replicas": replicas} if replicas else {}
    try:
        await redis.start()
        async with (
            chaos_system_over(redis.url, tmp_path, seed, **waits) as it,
            retrying_app(it) as api,
        ):
            stopped = asyncio.Event()
            apps = [asyncio.create_task(_enqueue_until(it, api, stopped)) for _ in range(APPS)]
            await asyncio.sleep(it.rng.uniform(1.0, 1.5))
            before = await _scripts(redis)
            redis.primary.freeze()
            frozen_at = time.time()
            await redis.until_promoted()
            promoted_s = time.time() - frozen_at
            await asyncio.sleep(frozen_at + FROZEN_S - time.time())
            redis.primary.thaw()
            await redis.until_demoted(DEMOTED_WITHIN_S)
            demoted_at = time.time()
            on_former = await _scripts(redis) - before
            stopped.set()
            it.acknowledged = [job_id for ids in await asyncio.gather(*apps) for job_id in ids]
            lost = sorted(set(it.acknowledged) - (await it.job_ids()))
            confirmed = sorted(set(lost) - set(api.unconfirmed))
            it.acknowledged = [job_id for job_id in it.acknowledged if job_id not in lost]
            await check_claims(
                it,
                report,
                "freeze",
                f"WAIT {replicas}, promoted after {promoted_s:.1f} s, demoted after"
                f" {demoted_at - frozen_at:.1f} s, {on_former} scripts on the former primary,"
                f" {len(confirmed)} acknowledged lost of {len(it.acknowledged) + len(lost)},"
                f" {len(api.unconfirmed)} unconfirmed, {len(lost) - len(confirmed)} of them lost,"
                f" answers {dict(api.statuses)}",
                explains=lambda job: _was_sent_before(job, demoted_at),
            )
            assert api.statuses.keys() <= {200, 202, 503}
            assert not replicas or not confirmed
    finally:
        redis.primary.thaw()
        await redis.kill()


async def _enqueue_until(chaos: ChaosSystem, api: RetryingApp, stopped: asyncio.Event) -> list[str]:
    """Enqueue one job after another; returns the ids of those that were acknowledged."""
    acknowledged: list[str] = []
    while not stopped.is_set():
        acknowledged += await api.enqueue(chaos.requests(1), pause_s=PAUSE_S)
    return acknowledged


async def _scripts(redis: Sentinels) -> int:
    """How many scripts the first primary has run."""
    for line in (await redis.primary.query("INFO commandstats")).decode().splitlines():
        if line.startswith("cmdstat_evalsha:"):
            return int(line.partition("calls=")[2].partition(",")[0])
    return 0


def _was_sent_before(job: Job, moment: float) -> bool:
    return job.sent_at is not None and job.sent_at < moment
