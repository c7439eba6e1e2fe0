"""A sandbox per test, over real HTTP, with a clock that moves only when told."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp
import pytest
from aiohttp import web

from tests.sandbox.desk import Desk, Mailbox
from worker.sandbox import SandboxConfig, SettableClock, running


class OpenDesk(Protocol):
    """Opens a sandbox of a given configuration."""

    def __call__(self, config: SandboxConfig) -> AbstractAsyncContextManager[Desk]: ...


@asynccontextmanager
async def _open(config: SandboxConfig) -> AsyncGenerator[Desk]:
    clock = SettableClock()
    async with running(config, clock=clock) as url, aiohttp.ClientSession() as http:
        yield Desk(url, http, clock)


@pytest.fixture
def open_desk() -> OpenDesk:
    return _open


@pytest.fixture
async def desk() -> AsyncGenerator[Desk]:
    async with _open(SandboxConfig()) as opened:
        yield opened


@pytest.fixture
async def mailbox() -> AsyncGenerator[Mailbox]:
    box = Mailbox()
    app = web.Application()
    app.router.add_post("/hook", box.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    box.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield box
    await runner.cleanup()
