"""A Redis that loads its data, however long: nothing ends, everything says so, and then goes on.

The client of a worker gives up a command after some 3 s of retries. What outlasts that once, at the
start and later, outlasts it a hundred times: nothing counts them.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from config.settings import Settings
from tests.engine.live_system import environment, wait_until
from tests.integration.loading_relay import LoadingRelay
from worker.clock import RedisClock
from worker.compose.api import running as running_api
from worker.doctor.findings import Level
from worker.doctor.probes import check_all
from worker.redis.connect import connect
from worker.store import Store, open_store

WITHIN_S = 30.0
JOB: dict[str, Any] = {"kind": "model", "target": "suno", "inputs": {}}


@pytest.fixture
async def relay(redis_url: str) -> AsyncGenerator[LoadingRelay]:
    async with LoadingRelay(int(redis_url.rpartition("/")[0].rpartition(":")[2])) as relay:
        yield relay


class LoggedWorker:
    """A worker process and the lines that it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def until_logged(self, event: str, words: str = "") -> None:
        """Wait for a line with this event; it must not end before."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WITHIN_S):
            while True:
                line = await self.process.stderr.readline()
                assert line, f"it ended before {event}"
                if json.loads(line)["event"] == event and words in line.decode():
                    return


@pytest.fixture
def settings(relay: LoadingRelay, lent_namespace: str) -> Settings:
    return Settings(
        redis_url=SecretStr(relay.url),
        namespace=lent_namespace,
        api_key=SecretStr("knouds_live_x"),
        base_url="http://127.0.0.1:1",
        http_port=0,
        start_check=False,
        log_format="json",
    )


@pytest.fixture
async def worker(relay: LoadingRelay, settings: Settings) -> AsyncGenerator[LoggedWorker]:
    """A worker that is started while Redis loads."""
    await relay.restart()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.cli.main", "worker"),
        env=environment(settings),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield LoggedWorker(process)
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def store(settings: Settings) -> AsyncGenerator[Store]:
    redis = connect(settings, fail_fast=True)
    yield open_store(redis, settings.namespace)
    await redis.aclose(close_connection_pool=True)


async def test_worker_api_and_doctor_outlast_a_redis_that_loads_for_long(
    relay: LoadingRelay, settings: Settings, store: Store, worker: LoggedWorker
) -> None:
    async with running_api(settings, store) as url, aiohttp.ClientSession(url) as http:
        await worker.until_logged("redis.awaited", "is loading its data")
        await said_by_api_and_doctor(http, store, settings)
        relay.finish()
        await worker.until_logged("worker.started")
        await until_a_heartbeat(store)

        await relay.restart()
        await worker.until_logged("arq.interrupted", "LOADING")
        await said_by_api_and_doctor(http, store, settings)
        relay.finish()
        await until_a_heartbeat(store)
        async with http.post("/v1/jobs", json=JOB) as answer:
            assert answer.status == 202
        assert worker.process.returncode is None


async def said_by_api_and_doctor(
    http: aiohttp.ClientSession, store: Store, settings: Settings
) -> None:
    """The API answers 503 with the reason, and the doctor names it with the fix."""
    for call in (http.get("/readyz"), http.post("/v1/jobs", json=JOB)):
        async with call as answer:
            body = await answer.json()
            assert (answer.status, body["reason"]) == (503, "LOADING")
            assert "is loading its data" in body["detail"]
            assert answer.headers["Retry-After"]
    groups = [group async for group in check_all(store, settings, RedisClock(), None)]
    failed = [one for group in groups for one in group if one.level is Level.FAIL]
    assert [(one.text, one.fix) for one in failed] == [
        ("Redis is loading its data (LOADING)", "wait until it has loaded its data")
    ]


async def until_a_heartbeat(store: Store) -> None:
    since = time.time()

    async def lives() -> bool:
        return any(beat.seen_at > since for beat in await store.workers.heartbeats())

    await wait_until(lives, "the worker reports", WITHIN_S)
