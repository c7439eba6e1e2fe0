"""Shared by every test: one real Redis for the run, a namespace of its own for each test."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Final

import pytest
import structlog
from arq import ArqRedis

from config.settings import Settings
from tests.chaos.killable_redis import KillableRedis
from tests.chaos.summary_table import pytest_terminal_summary as pytest_terminal_summary  # noqa: PLC0414
from tests.shared_redis import COMPACT_HASHES, set_fsync
from worker.redis.connect import connect
from worker.store.client import Client

SLOW_FOLDERS: Final = ("chaos", "cli", "engine", "integration", "simulation", "webhooks", "doctor")
"""Folders whose tests take longest, the slowest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow folders: no process is left alone with them at the end."""
    tests = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(tests).parts[0]
        return SLOW_FOLDERS.index(folder) if folder in SLOW_FOLDERS else len(SLOW_FOLDERS)

    items.sort(key=rank)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A real Redis server, started once. No test kills it, so it never waits for the disk."""
    server = KillableRedis(tmp_path_factory.mktemp("redis"))
    with asyncio.Runner() as runner:
        runner.run(server.start(*COMPACT_HASHES))
        runner.run(set_fsync(server.url, "no"))
        yield server.url
        runner.run(server.kill())


@pytest.fixture(autouse=True)
def restored_logging() -> Generator[None]:
    """A test that configures logging leaves it to the next one as it was."""
    config, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def namespace() -> str:
    """A namespace for this test alone."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def lent_namespace(redis_url: str, namespace: str) -> Generator[str]:
    """A namespace for programs that a test starts; its keys are removed afterwards."""
    yield namespace
    asyncio.run(_empty(connect(Settings(namespace=namespace), redis_url), namespace))


async def _empty(client: ArqRedis, namespace: str) -> None:
    store = Client(client)
    for key in await _keys(store, f"{namespace}:*"):
        await store.call("DEL", key)
    await client.aclose(close_connection_pool=True)


async def _keys(client: Client, pattern: str) -> list[bytes]:
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, page = await client.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        found |= set(page)
        if int(cursor) == 0:
            return sorted(found)


@pytest.fixture
async def redis(redis_url: str, namespace: str) -> AsyncGenerator[ArqRedis]:
    """A client of the namespace; afterwards no key may be left outside of it."""
    client = connect(Settings(namespace=namespace), redis_url)
    yield client
    store = Client(client)
    left = [key.decode() for key in await _keys(store, "*")]
    for key in left:
        await store.call("DEL", key)
    await client.aclose(close_connection_pool=True)
    strays = [key for key in left if not key.startswith((namespace, "arq:"))]
    assert not strays, f"keys outside the namespace {namespace}: {strays[:5]}"
