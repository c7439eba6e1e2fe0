"""The API over real HTTP, on a real Redis, without a worker."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp
import pytest
from arq import ArqRedis

from config.settings import Settings
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from worker.clock import SystemClock
from worker.compose.api import running
from worker.provider.knouds.error_rows import ERROR_CODES
from worker.store import Store, open_store


class OpenApi(Protocol):
    """Serves the API under other settings."""

    def __call__(
        self, store: Store, settings: Settings
    ) -> AbstractAsyncContextManager[CheckedApi]: ...


@asynccontextmanager
async def _open(store: Store, settings: Settings) -> AsyncGenerator[CheckedApi]:
    async with running(settings, store) as url, aiohttp.ClientSession() as http:
        yield CheckedApi(url, http)


@pytest.fixture
def open_api() -> OpenApi:
    return _open


@pytest.fixture
def store(redis: ArqRedis, namespace: str) -> Store:
    return open_store(redis, namespace, ERROR_CODES)


@pytest.fixture
def settings(namespace: str) -> Settings:
    return Settings(namespace=namespace, http_port=0)


@pytest.fixture
async def api(store: Store, settings: Settings) -> AsyncGenerator[CheckedApi]:
    async with _open(store, settings) as opened:
        yield opened


@pytest.fixture
def job_factory(store: Store) -> JobFactory:
    return JobFactory(store, SystemClock())
