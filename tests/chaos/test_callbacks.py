"""Callbacks while the receiver is down and workers are killed: each event, in its order."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config.callback_hosts import CallbackHosts
from jobs.callbacks import CallbackState
from jobs.job import Job
from jobs.lifecycle import Transition
from tests.chaos.chaos_system import ASYNC, ChaosSystem, chaos_system
from tests.chaos.claims import check_claims, last_worker_pid
from tests.chaos.conftest import Report
from tests.chaos.scale import SEED, TIME_LIMIT_S, scaled
from tests.engine.callback_receiver import SECRET, ReceivedCallback, receiving
from tests.engine.live_system import wait_until
from worker.cli.up.plan import free_port
from worker.clock import SystemClock
from worker.doctor.callbacks import check_callbacks
from worker.doctor.findings import Level

pytestmark = [pytest.mark.timeout(TIME_LIMIT_S)]

WORKERS = 2
JOBS = scaled(short=60, full=2_000)
KILLS = scaled(short=2, full=10)
SLOW_S = 0.5
DOWN_S = scaled(short=2.0, full=60.0)

EVENTS = {
    "job.succeeded": {Transition.SUCCEED},
    "job.parked": {one for one in Transition if one.value.startswith("park_")},
    "job.cancelled": {Transition.CANCEL, Transition.DISCARD},
    "job.dead": {Transition.DEAD_LETTER},
}
TYPE_OF = {transition.value: name for name, found in EVENTS.items() for transition in found}


async def test_each_event_comes_at_least_once_and_in_order(tmp_path: Path, report: Report) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings: dict[str, Any] = {
        "callback_hosts": CallbackHosts((url,)),
        "callback_secret": SecretStr(SECRET),
        "callback_url": {"*": f"{url}/knouds"},
        "callback_timeout_s": 1.0,
    }
    async with chaos_system(tmp_path, SEED, workers=WORKERS, **settings) as it:
        async with receiving(port=port) as before:
            before.delay_s = SLOW_S  # what a killed worker was sending came, and comes again
            await it.enqueue(it.requests(JOBS // 2, targets=ASYNC))

            async def is_under_way() -> bool:
                return before.under_way > 1

            for slot in range(WORKERS):
                await wait_until(is_under_way, "callbacks under way")
                await it.workers.kill(slot)
            before.delay_s = 0.0
        kills = asyncio.create_task(_kill(it))  # while nobody receives
        await it.enqueue(it.requests(JOBS - JOBS // 2, targets=ASYNC))
        await asyncio.sleep(DOWN_S)
        async with receiving(port=port) as after:
            await kills
            await it.until_settled_or_parked(scaled(short=30.0, full=400.0))
            await check_claims(
                it,
                report,
                "callbacks",
                f"{KILLS + WORKERS} kills, receiver down for {DOWN_S:g} s",
                explains=lambda job: last_worker_pid(job) in it.workers.killed,
            )
            await _until_all_sent(it)
        await _check(it, [*before.received, *after.received])


async def _kill(it: ChaosSystem) -> None:
    rng = random.Random(SEED)  # noqa: S311  a schedule
    for number in range(KILLS):
        await it.workers.until_live(number % WORKERS)
        await asyncio.sleep(rng.uniform(0.1, 0.6))
        await it.workers.kill(number % WORKERS)


async def _until_all_sent(it: ChaosSystem) -> None:
    async def none_pending() -> bool:
        counts = await it.system.store.callbacks.counts()
        return not counts.by_state[CallbackState.PENDING]

    await wait_until(none_pending, "no callback is pending", scaled(short=40.0, full=400.0))


async def _check(it: ChaosSystem, received: list[ReceivedCallback]) -> None:
    """Compare what was received with the histories of all jobs."""
    by_job: dict[str, dict[str, ReceivedCallback]] = defaultdict(dict)
    bodies: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for one in received:
        by_job[one.job_id][one.id] = one
        bodies[one.id].add((one.type, one.sequence))
    assert all(len(found) == 1 for found in bodies.values()), "one id is one event"
    for job in await _jobs(it):
        expected = (TYPE_OF[event.name] for event in job.events if event.name in TYPE_OF)
        in_order = sorted(by_job[job.id].values(), key=lambda one: one.sequence)
        assert _changes(one.type for one in in_order) == _changes(expected), job.id
    store, now = it.system.store, SystemClock().now()
    findings = await check_callbacks(store, it.system.settings, now)
    assert {one.level for one in findings} == {Level.OK}, findings
    repeated = Counter(one.id for one in received).most_common(1)
    print(  # noqa: T201  the result of the long form
        f"callbacks: {len(bodies)} events, {len(received) - len(bodies)} duplicates,"
        f" at most {repeated[0][1]} of one"
    )


def _changes(types: Iterable[str]) -> list[str]:
    """Types without repetitions: a job that parks anew for the same reason is no event."""
    return [name for name, _ in groupby(types)]


async def _jobs(it: ChaosSystem) -> list[Job]:
    found = await it.system.store.jobs.load_many(it.acknowledged)
    return [stored.job for stored in found if stored is not None]
