"""The provider fails under load, for one model and then for a route, while workers are killed.

Nobody does anything: at most the submits in flight when their route fails are uncertain, and those
of killed workers. All others succeed by themselves.
"""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.breakers import MAX_PAUSE_S, BreakerCause, BreakerState
from jobs.job import Job
from jobs.states import Kind
from tests.chaos.chaos_system import ASYNC, ChaosSystem, chaos_system
from tests.chaos.claims import check_claims, last_worker_pid
from tests.chaos.conftest import Report
from tests.chaos.scale import SEED, TIME_LIMIT_S, scaled
from tests.engine.live_system import wait_until

pytestmark = [pytest.mark.timeout(TIME_LIMIT_S)]

WORKERS = 2
BROKEN_MODEL = "gpt-image-2"
ROUTE = Kind.MODEL
SLOTS = scaled(short=8, full=30)
"""Async submits that one worker has under way at most."""
MAX_CANARIES = 8
"""Canaries of a route that are lost while it fails for so short a time: after 2, 4, 8 … s."""


async def test_an_outage_kills_no_job_and_makes_no_work_but_for_what_was_in_flight(
    tmp_path: Path, report: Report
) -> None:
    jobs, kills = scaled(short=160, full=2_000), scaled(short=2, full=12)
    model_s, route_s = scaled(short=3.0, full=40.0), scaled(short=2.0, full=20.0)
    rng = random.Random(SEED)  # noqa: S311  a schedule
    async with chaos_system(tmp_path, SEED, workers=WORKERS, max_jobs=SLOTS) as it:
        load = asyncio.create_task(_load(it, rng, jobs, model_s + route_s))
        killer = asyncio.create_task(_kill(it, rng, kills, model_s + route_s))
        fault = await _fault(it, "EXECUTION_FAILED", target=BROKEN_MODEL)
        await _until_tripped(it, BreakerCause.TARGET_FAILURE, BROKEN_MODEL, model_s)
        await _end_fault(it, fault)
        began = time.time()
        fault = await _fault(it, "html_502", kind=ROUTE.value)
        await _until_tripped(it, BreakerCause.UNKNOWN_OUTCOME, "suno", route_s)
        await _end_fault(it, fault)
        ended = time.time()
        await asyncio.gather(load, killer)
        await _until_settled(it, model_s + route_s)

        def explains(job: Job) -> bool:
            was_killed = (job.sent_at or 0.0) <= it.workers.killed.get(last_worker_pid(job), 0.0)
            return was_killed or (job.kind is ROUTE and began - 1 <= (job.sent_at or 0.0) <= ended)

        found = await check_claims(
            it,
            report,
            "outage",
            f"{model_s:.0f} s 500, {route_s:.0f} s 502, {kills} kills",
            explains=explains,
        )
        of_outage = [job for job in found.uncertain if job.reason and job.reason.http_status == 502]
        assert len(of_outage) <= WORKERS * SLOTS + MAX_CANARIES


async def _until_tripped(it: ChaosSystem, cause: BreakerCause, target: str, least_s: float) -> None:
    """Let the provider fail for so long, and until a breaker has tripped for jobs of a target."""
    await it.enqueue(it.requests(2 * SLOTS, targets=((Kind.MODEL, target),)))
    await asyncio.sleep(least_s)

    async def tripped() -> bool:
        found = await it.system.store.breakers.list_all()
        return any(one.cause is cause and one.trips for one in found)

    await wait_until(tripped, f"a breaker trips by {cause}")


async def _load(it: ChaosSystem, rng: random.Random, jobs: int, seconds: float) -> None:
    """Enqueue the jobs a few at a time, as long as the provider fails."""
    size = 10
    for number in range(jobs // size):
        targets = ((Kind.MODEL, BROKEN_MODEL),) if number % 2 else ASYNC
        await it.enqueue(it.requests(size, targets=targets))
        await asyncio.sleep(rng.uniform(0.5, 1.4) * seconds * size / jobs)


async def _kill(it: ChaosSystem, rng: random.Random, kills: int, seconds: float) -> None:
    for number in range(kills):
        slot = number % WORKERS
        await it.workers.until_live(slot)
        await asyncio.sleep(rng.uniform(0.2, 0.9) * seconds / kills)
        await it.workers.kill(slot)


async def _fault(it: ChaosSystem, name: str, **match: str) -> int:
    """Every matching submit is answered so from now on."""
    body = {"match": {"route": "submit", **match}, "fault": name}
    async with it.system.http.post(f"{it.system.sandbox_url}/_sandbox/faults", json=body) as answer:
        found: dict[str, Any] = await answer.json()
        return int(found["id"])


async def _end_fault(it: ChaosSystem, fault: int) -> None:
    url = f"{it.system.sandbox_url}/_sandbox/faults?id={fault}"
    async with it.system.http.delete(url) as answer:
        assert (await answer.json())["cleared"] == 1


async def _until_settled(it: ChaosSystem, failed_s: float) -> None:
    """Wait as long as the pauses of breakers may last after so long an outage."""
    await it.until_settled_or_parked(min(MAX_PAUSE_S, 2 * failed_s + 60.0))
    for breaker in await it.system.store.breakers.list_all():

        async def lets_submits_through(breaker_id: str = breaker.id) -> bool:
            found = await it.system.store.breakers.find(breaker_id)
            return found is None or found.state is not BreakerState.OPEN

        await wait_until(
            lets_submits_through, f"the breaker of {breaker.scope} lets submits through"
        )
