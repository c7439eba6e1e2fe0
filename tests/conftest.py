"""Shared by every test: one real Redis for the run, a namespace of its own for each test."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from arq import ArqRedis

from config.settings import Settings
from worker.connection import connect
from worker.embedded import EmbeddedRedis


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A real Redis server, started once."""
    state: Path = tmp_path_factory.mktemp("redis")
    with asyncio.Runner() as runner:
        server = EmbeddedRedis(state)
        runner.run(server.__aenter__())
        yield server.url
        runner.run(server.__aexit__(None, None, None))


@pytest.fixture
def namespace() -> str:
    """A namespace nobody else uses."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def redis(redis_url: str, namespace: str) -> AsyncGenerator[ArqRedis]:
    """A client of the namespace; afterwards no key may be left outside of it."""
    client = connect(Settings(namespace=namespace), redis_url)
    yield client
    strays: list[str] = []
    async for key in client.scan_iter(count=1000):
        name = key.decode()
        if not name.startswith((namespace, "arq:")):
            strays.append(name)
        await client.delete(key)
    await client.aclose(close_connection_pool=True)
    assert not strays, f"keys outside the namespace {namespace}: {strays[:5]}"
