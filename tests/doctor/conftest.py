"""Fixtures: a store to damage, and a complete system to check while it works."""

import asyncio
from collections.abc import AsyncGenerator, Generator

import pytest
from arq import ArqRedis

from tests.engine.live_system import LiveSystem, live_system
from tests.shared_redis import set_fsync
from worker.sandbox import SandboxConfig, running
from worker.store import Store, open_store


@pytest.fixture
async def store(redis: ArqRedis, namespace: str) -> Store:
    """An empty store."""
    return open_store(redis, namespace)


@pytest.fixture
async def system(redis: ArqRedis, redis_url: str, namespace: str) -> AsyncGenerator[LiveSystem]:
    """A system without a worker, around a sandbox without limits."""
    async with (
        running(SandboxConfig(limit=0, credits=10**6)) as sandbox,
        live_system(redis, redis_url, namespace, sandbox) as found,
    ):
        yield found


@pytest.fixture(scope="module", autouse=True)
def synced_writes(redis_url: str) -> Generator[None]:
    """Redis waits for the disk after each write, as the doctor wants it."""
    asyncio.run(set_fsync(redis_url, "always"))
    yield
    asyncio.run(set_fsync(redis_url, "no"))
