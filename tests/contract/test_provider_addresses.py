"""Name lookup: results are cached, and every address is tried."""

import asyncio

import pytest

from tests.contract.event_loops import on_both_loops
from tests.contract.fake_name_lookup import FakeNameLookup, refusing
from tests.contract.http_connections import echo, pool_at, request_path, take_all
from tests.contract.raw_server import ServerConnection, serving
from worker.provider.http.failures import CannotConnect


@on_both_loops
async def test_addresses_are_looked_up_once_and_again_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(echo) as server, pool_at("http://knouds.invalid") as pool:
        lookup = FakeNameLookup(monkeypatch, server.url)
        first = await take_all(pool)
        assert lookup.lookups == 1
        for connection in first:
            pool.release(connection)
        lookup.urls = [refusing()]
        await take_all(pool)
        assert lookup.lookups == 1
    async with serving(echo) as server, pool_at("http://knouds.invalid") as pool:
        lookup = FakeNameLookup(monkeypatch, refusing())
        with pytest.raises(CannotConnect):
            await pool.acquire()
        lookup.urls = [server.url]
        assert (await request_path(pool, "/a")).body == b"/a"
        assert lookup.lookups == 2


async def test_addresses_are_looked_up_again_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(ServerConnection.hang) as server, pool_at("http://knouds.invalid") as pool:
        lookup = FakeNameLookup(monkeypatch, server.url)
        loop = asyncio.get_running_loop()
        for passed, lookups in ((0.0, 1), (59.0, 1), (2.0, 2)):
            now = loop.time() + passed
            monkeypatch.setattr(loop, "time", lambda now=now: now)
            pool.release(await pool.acquire())
            assert lookup.lookups == lookups


@on_both_loops
async def test_concurrent_requests_share_one_lookup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(echo) as server, pool_at("http://knouds.invalid", connections=9) as pool:
        lookup = FakeNameLookup(monkeypatch, server.url)
        await asyncio.gather(*(request_path(pool) for _ in range(9)))
    assert (lookup.lookups, len(server.connections)) == (1, 9)


@on_both_loops
async def test_another_address_is_tried_if_the_first_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(echo) as server, pool_at("http://knouds.invalid") as pool:
        FakeNameLookup(monkeypatch, refusing(), server.url)
        assert (await request_path(pool, "/a")).body == b"/a"
