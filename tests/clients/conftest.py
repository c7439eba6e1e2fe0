"""Everything that a client talks to: the API, a worker and the sandbox, over real HTTP."""

from collections.abc import AsyncGenerator

import pytest
from arq import ArqRedis

from tests.engine.live_system import live_system
from worker.compose.api import running
from worker.sandbox import SandboxConfig
from worker.sandbox import running as running_sandbox


@pytest.fixture
async def api_url(redis: ArqRedis, redis_url: str, namespace: str) -> AsyncGenerator[str]:
    """The address of the API."""
    async with (
        running_sandbox(SandboxConfig(limit=0, credits=10**6, median_s=0.2, sigma=0.1)) as sandbox,
        live_system(redis, redis_url, namespace, sandbox, http_port=0) as system,
        running(system.settings, system.store) as url,
        system.worker(),
    ):
        yield url
