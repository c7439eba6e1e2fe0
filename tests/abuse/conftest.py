"""The API with tokens, as in `tests/api`, and connections that send anything."""

from collections.abc import AsyncGenerator

import pytest
from arq import ArqRedis
from pydantic import SecretStr

from config.settings import Settings
from config.values import ApiToken, Role
from tests.abuse.api_process import SECRETS, WEBHOOK_SECRET
from worker.api.edge import connection
from worker.api.edge.connection_table import ConnectionLimits
from worker.compose.api import running
from worker.provider.knouds.error_rows import ERROR_CODES
from worker.store import Store, open_store


@pytest.fixture
def store(redis: ArqRedis, namespace: str) -> Store:
    return open_store(redis, namespace, ERROR_CODES)


@pytest.fixture
def settings(namespace: str) -> Settings:
    tokens = tuple(ApiToken(f"{r}-app", r, SecretStr(SECRETS[r])) for r in Role)
    return Settings(
        namespace=namespace,
        http_port=0,
        api_tokens=tokens,
        webhook_secret=SecretStr(WEBHOOK_SECRET),
        max_result_bytes=65_536,
    )


@pytest.fixture
def connection_limits() -> ConnectionLimits:
    """How many connections may be open."""
    return ConnectionLimits(200, 200)


@pytest.fixture
async def url(
    store: Store,
    settings: Settings,
    connection_limits: ConnectionLimits,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[str]:
    monkeypatch.setattr(ConnectionLimits, "of_this_process", lambda: connection_limits)
    short = {**connection.CONNECTION_OPTIONS, "lingering_time": 0.2}
    monkeypatch.setattr(connection, "CONNECTION_OPTIONS", short)
    async with running(settings, store) as found:
        yield found
