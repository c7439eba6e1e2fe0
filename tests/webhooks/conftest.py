"""A sandbox that delivers to an API in this process, and the system behind it."""

from collections.abc import AsyncGenerator

import pytest
from arq import ArqRedis
from pydantic import SecretStr

from tests.engine.live_system import live_system
from tests.webhooks.webhook_system import NEXT_SECRET, SECRET, WebhookSystem
from worker.compose.api import running as serving
from worker.engine.services import webhook_processor
from worker.sandbox import SandboxConfig, running


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of a test are short, so the inbox is checked often."""
    monkeypatch.setattr(webhook_processor, "TICK_S", 0.1)


@pytest.fixture
async def sandbox() -> AsyncGenerator[str]:
    """A sandbox without limits and with enough credits; a failed delivery is repeated soon."""
    async with running(SandboxConfig(limit=0, credits=10**6, webhook_retry_s=0.1)) as url:
        yield url


@pytest.fixture
async def hooked(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str
) -> AsyncGenerator[WebhookSystem]:
    """A system whose provider delivers. It has no worker: a test starts those it needs."""
    secrets = SecretStr(f"{SECRET},{NEXT_SECRET}")
    changes = {"webhook_secret": secrets, "http_port": 0, "max_result_bytes": 65_536}
    async with (
        live_system(redis, redis_url, namespace, sandbox, **changes) as system,
        serving(system.settings, system.store) as api,
    ):
        await system.sandbox_admin("webhook", url=f"{api}/webhooks/knouds", secret=SECRET)
        yield WebhookSystem(system, api)
