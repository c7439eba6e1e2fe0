"""Fixtures of the simulation: the engine with a simulated provider and a faulty Redis client."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from types import SimpleNamespace

import pytest

from jobs.lanes import Lane, polls_scope
from jobs.rate_limits import RateLimitBucket
from jobs.states import Kind
from tests.simulation.deployment import SimulatedDeployment, simulated_deployment, small_settings
from tests.simulation.faulty_redis_client import FaultyRedisClient
from tests.simulation.simulated_provider import SimulatedProvider
from tests.simulation.virtual_outage import AnsweringProvider


async def _at_once(_: float) -> None:
    """Sleep no real time: the test moves the clock."""
    await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def simulated_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate provider and Redis client, sleep no real time, make predictable submit tokens."""
    numbers = itertools.count(1)
    monkeypatch.setattr("worker.compose.provider.KnoudsClient", SimulatedProvider)
    monkeypatch.setattr("worker.store.Client", FaultyRedisClient)
    monkeypatch.setattr("worker.engine.completion.asyncio", SimpleNamespace(sleep=_at_once))
    monkeypatch.setattr("worker.engine.services.poller.HAND_OVER_TIMEOUT_S", 0)

    def in_order(_: int) -> str:
        return f"{next(numbers):08x}"

    tokens = SimpleNamespace(token_hex=in_order)
    monkeypatch.setattr("worker.engine.services.admission.secrets", tokens)


@pytest.fixture
def answering_provider(simulated_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that answers by itself, in place of the simulated one."""
    del simulated_parts
    monkeypatch.setattr("worker.compose.provider.KnoudsClient", AnsweringProvider)


@pytest.fixture
async def deployment(redis_url: str) -> AsyncGenerator[SimulatedDeployment]:
    """An empty deployment whose routes have no rate limits; other tests cover those."""
    async with simulated_deployment(small_settings(), redis_url) as one:
        for route in (Lane("default", Kind.MODEL, "suno").route, polls_scope("default")):
            await one.store.rate_limits.change(route, lambda _: RateLimitBucket(is_unlimited=True))
        yield one
