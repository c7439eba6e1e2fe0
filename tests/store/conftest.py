"""A store over the real Redis, in the namespace of the test."""

from collections.abc import AsyncGenerator

import pytest
from arq import ArqRedis

from tests.store.redis_contents import keys_of
from worker.store import Store, open_store


@pytest.fixture
async def store(redis: ArqRedis, namespace: str) -> AsyncGenerator[Store]:
    """A store without jobs; `redis` fails the test if a key is left outside the namespace."""
    opened = open_store(redis, namespace)
    assert await opened.recovery.until_ready()
    yield opened
    if keys := await keys_of(opened):
        await opened.client.call("DEL", *keys)
