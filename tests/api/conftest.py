"""The API over real HTTP, on a real Redis, without a worker."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest
from arq import ArqRedis

from config.settings import Settings
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from tests.api.token_entries import OPERATOR, TENANT_TOKENS, Entry, secret_of
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


class OpenWithTokens(Protocol):
    """Serves the API with the tokens of a file, and an operator's of the environment."""

    def __call__(self, entries: Sequence[Entry]) -> AbstractAsyncContextManager[CheckedApi]: ...


@pytest.fixture
def open_with_tokens(store: Store, namespace: str, tmp_path: Path) -> OpenWithTokens:
    def opened(entries: Sequence[Entry]) -> AbstractAsyncContextManager[CheckedApi]:
        path = tmp_path / "tokens.json"
        path.write_text(
            json.dumps([{"secret": secret_of(str(one["name"]))} | one for one in entries])
        )
        settings = Settings(
            namespace=namespace, http_port=0, api_tokens=(OPERATOR,), api_tokens_file=path
        )
        return _open(store, settings)

    return opened


@pytest.fixture
async def of_tenants(open_with_tokens: OpenWithTokens) -> AsyncGenerator[CheckedApi]:
    """The API with the tokens of two tenants and of none."""
    async with open_with_tokens(TENANT_TOKENS) as api:
        yield api


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
