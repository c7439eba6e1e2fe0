"""A subscription whose connection drops packets is noticed by a ping, and made again."""

import asyncio
from urllib.parse import urlsplit

import pytest
from arq import ArqRedis
from structlog.testing import capture_logs

from config.settings import Settings
from tests.integration.silent_relay import silent_relay
from worker.engine import subscriber
from worker.engine.subscriber import Subscriber
from worker.redis.connect import connect
from worker.store.client import Client
from worker.tasks import cancel_and_wait


def test_it_is_noticed_within_ten_seconds() -> None:
    assert 2 * subscriber.SILENCE_S + subscriber.RECONNECT_PAUSE_S <= 10


async def test_messages_come_again_after_a_silent_connection(
    redis: ArqRedis, redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "SILENCE_S", 0.5)
    monkeypatch.setattr(subscriber, "RECONNECT_PAUSE_S", 0.01)
    parts = urlsplit(redis_url)
    received: asyncio.Queue[str] = asyncio.Queue()
    async with silent_relay(parts.hostname or "", parts.port or 0) as relay:
        url = parts._replace(netloc=f"127.0.0.1:{relay.port}").geturl()
        behind = connect(Settings(namespace=namespace), url)
        channel = Subscriber(Client(behind), f"{namespace}:wake")

        async def read() -> None:
            async for message in channel.messages():
                received.put_nowait(message)

        reading = asyncio.create_task(read())
        try:
            with capture_logs() as logs:
                await asyncio.wait_for(channel.subscribed.wait(), 5)
                await Client(redis).call("PUBLISH", f"{namespace}:wake", "before")
                assert await asyncio.wait_for(received.get(), 5) == "before"
                await asyncio.sleep(1.2)  # idle, and alive: its pings are answered
                assert logs == []
                relay.fall_silent()
                while not logs:  # noqa: ASYNC110 - the log is no event
                    await asyncio.sleep(0.02)
                await asyncio.wait_for(channel.subscribed.wait(), 10)
                await Client(redis).call("PUBLISH", f"{namespace}:wake", "after")
                assert await asyncio.wait_for(received.get(), 5) == "after"
            assert [entry["event"] for entry in logs] == ["subscription.lost"]
        finally:
            await cancel_and_wait(reading)
            await behind.aclose()
