"""The client for asyncio, against a real server."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from conftest import FAST, run_inputs
from failing_proxy import FailingProxy

from knouds_worker_client import AsyncClient, JobDead, WaitTimeout, models


def test_many_runs_wait_on_one_stream(proxy: FailingProxy) -> None:
    async def scenario() -> None:
        async with AsyncClient(proxy.url, retries=FAST) as client:
            runs = (
                client.run("model", "gpt-image-2", run_inputs(duration_s=0.3), timeout_s=30)
                for _ in range(5)
            )
            jobs = await asyncio.gather(*runs)
        assert {job.state for job in jobs} == {"succeeded"}
        assert proxy.requests.count("GET /v1/events") == 1
        assert not any(one.endswith("/wait") for one in proxy.requests)

    asyncio.run(scenario())


def test_without_a_stream_it_polls(proxy: FailingProxy) -> None:
    proxy.has_streams = False

    async def scenario() -> None:
        async with AsyncClient(proxy.url, retries=FAST) as client:
            job = await client.run("model", "gpt-image-2", run_inputs(duration_s=0.3), timeout_s=30)
        assert job.state == "succeeded"
        assert f"GET /v1/jobs/{job.id}/wait" in proxy.requests

    asyncio.run(scenario())


def test_an_enqueue_whose_answer_is_lost_makes_one_job(proxy: FailingProxy) -> None:
    tag = uuid.uuid4().hex

    async def scenario() -> None:
        async with AsyncClient(proxy.url, retries=FAST) as client:
            proxy.faults.extend(["lost", "busy"])
            job = await client.enqueue_job(
                kind="model", target="suno", inputs=run_inputs(), tags=[tag], delay_s=3600
            )
            assert proxy.requests == ["POST /v1/jobs"] * 3
            listed = [one.id async for one in client.iterate(client.list_jobs, tag=tag, limit=1)]
            assert listed == [job.id]
            done = await client.cancel_jobs(filter=models.JobFilter(tag=tag))
            assert done.done == 1

    asyncio.run(scenario())


def test_failures_and_timeouts_raise(url: str) -> None:
    async def scenario() -> None:
        async with AsyncClient(url, retries=FAST) as client:
            with pytest.raises(JobDead):
                await client.run("model", "gpt-image-2", run_inputs(fault="INVALID_INPUTS"))
            with pytest.raises(WaitTimeout):
                await client.run("model", "suno", run_inputs(), timeout_s=0.2, delay_s=3600)

    asyncio.run(scenario())
