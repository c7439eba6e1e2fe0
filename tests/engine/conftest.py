"""A sandbox and a system around it, for each test."""

from collections.abc import AsyncGenerator

import pytest
from arq import ArqRedis

from tests.engine.live_system import LiveSystem, live_system
from worker.sandbox import SandboxConfig, running


@pytest.fixture
async def sandbox() -> AsyncGenerator[str]:
    """A sandbox without rate limits, with enough credits."""
    async with running(SandboxConfig(limit=0, credits=10**6)) as url:
        yield url


@pytest.fixture
async def system(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str
) -> AsyncGenerator[LiveSystem]:
    """A system without a worker: the test starts those it needs."""
    async with live_system(redis, redis_url, namespace, sandbox) as found:
        yield found
