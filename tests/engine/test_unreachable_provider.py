"""A provider that cannot be reached is named, with its cause, host and setting."""

import time
from typing import Any

from arq import ArqRedis

from jobs.states import State
from tests.engine.live_system import LiveSystem, live_system, wait_until
from worker.cli.up.plan import free_port
from worker.dashboard.views.summary import summarize


async def test_no_connection_stops_submits_and_is_named_everywhere(
    redis: ArqRedis, redis_url: str, namespace: str
) -> None:
    host = f"127.0.0.1:{free_port()}"
    async with (
        live_system(redis, redis_url, namespace, f"http://{host}") as system,
        system.worker(),
    ):
        job_id = await system.enqueue(job_id="mine")

        async def is_named() -> bool:
            return bool((await system.queries.stats()).breakers)

        await wait_until(is_named, "a breaker that is open")
        stats = await system.queries.stats()
        (item,) = summarize(stats, [], [], [], time.time()).items
        blockers = await system.queries.why(await system.job(job_id))
        (breaker,) = (one for one in blockers if one.kind == "breaker")
        assert (await system.job(job_id)).state is State.QUEUED
        assert (await system.job(job_id)).spent == 0
    for text in (item.text, breaker.text):
        assert "the provider cannot be reached" in text
        assert host in text
        assert "refused" in text.lower()
        assert "KNOUDS_BASE_URL" in text


async def test_polls_without_an_answer_are_named(system: LiveSystem) -> None:
    """Also where nothing waits to be submitted."""
    behaviour: dict[str, Any] = {"duration_s": 60, "poll": {"status": 503, "times": 50}}
    async with system.worker(lease_s=1):
        job_id = await system.enqueue(job_id="mine", **behaviour)
        await system.until(job_id, State.RUNNING)

        async def is_reported() -> bool:
            return any(one.poll_failure for one in await system.queries.live_workers())

        await wait_until(is_reported, "a worker that says that polls fail")
        (blocker,) = await system.queries.why(await system.job(job_id))
        summary = summarize(await system.queries.stats(), [], [], [], time.time())
    assert "503" in blocker.text
    assert "get no answer" in summary.text
