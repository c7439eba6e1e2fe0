"""A sandbox per test, over real HTTP, with a clock that a test moves."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp
import pytest
from aiohttp import web

from tests.sandbox.sandbox_http_client import SandboxHttpClient, WebhookMailbox
from worker.sandbox import SandboxConfig, SettableClock, running


class OpenSandbox(Protocol):
    """Opens a sandbox of a given configuration."""

    def __call__(self, config: SandboxConfig) -> AbstractAsyncContextManager[SandboxHttpClient]: ...


@asynccontextmanager
async def _open(config: SandboxConfig) -> AsyncGenerator[SandboxHttpClient]:
    clock = SettableClock()
    async with running(config, clock=clock) as url, aiohttp.ClientSession() as http:
        yield SandboxHttpClient(url, http, clock)


@pytest.fixture
def open_sandbox() -> OpenSandbox:
    return _open


@pytest.fixture
async def caller() -> AsyncGenerator[SandboxHttpClient]:
    async with _open(SandboxConfig()) as opened:
        yield opened


@pytest.fixture
async def mailbox() -> AsyncGenerator[WebhookMailbox]:
    box = WebhookMailbox()
    app = web.Application()
    app.router.add_post("/hook", box.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    box.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield box
    await runner.cleanup()
