"""The dashboard over real HTTP, on a real Redis, without a worker."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest
from arq import ArqRedis

from config.settings import Settings
from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import PageReader
from worker.clock import SystemClock
from worker.compose.api import running
from worker.store import Store, open_store

OpenPages = Callable[[Store, Settings], AbstractAsyncContextManager[PageReader]]


@asynccontextmanager
async def _open(store: Store, settings: Settings) -> AsyncGenerator[PageReader]:
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address
    async with running(settings, store) as url, aiohttp.ClientSession(cookie_jar=jar) as http:
        yield PageReader(url, http)


@pytest.fixture
def open_pages() -> OpenPages:
    return _open


@pytest.fixture
def store(redis: ArqRedis, namespace: str) -> Store:
    return open_store(redis, namespace)


@pytest.fixture
def settings(namespace: str) -> Settings:
    return Settings(namespace=namespace, http_port=0)


@pytest.fixture
async def pages(store: Store, settings: Settings) -> AsyncGenerator[PageReader]:
    async with _open(store, settings) as opened:
        yield opened


@pytest.fixture
def job_factory(store: Store) -> JobFactory:
    return JobFactory(store, SystemClock())
