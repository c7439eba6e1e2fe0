"""Where connections are made to: names are looked up seldom, and every address is tried."""

import asyncio

import pytest

from tests.contract.asking import ask, echo, pool_at, take_all
from tests.contract.lookup import Lookup, refusing
from tests.contract.loops import on_both_loops
from tests.contract.raw_server import Line, serving
from worker.provider.http.failures import CannotConnect


@on_both_loops
async def test_addresses_are_looked_up_once_and_again_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(echo) as server, pool_at("http://knouds.invalid") as pool:
        lookup = Lookup(monkeypatch, server.url)
        first = await take_all(pool)
        assert lookup.asked == 1
        for connection in first:
            pool.give_back(connection)
        lookup.urls = [refusing()]
        await take_all(pool)
        assert lookup.asked == 1
    async with serving(echo) as server, pool_at("http://knouds.invalid") as pool:
        lookup = Lookup(monkeypatch, refusing())
        with pytest.raises(CannotConnect):
            await pool.take()
        lookup.urls = [server.url]
        assert (await ask(pool, "/a")).body == b"/a"
        assert lookup.asked == 2


async def test_addresses_are_looked_up_again_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(Line.hang) as server, pool_at("http://knouds.invalid") as pool:
        lookup = Lookup(monkeypatch, server.url)
        loop = asyncio.get_running_loop()
        for passed, asked in ((0.0, 1), (59.0, 1), (2.0, 2)):
            now = loop.time() + passed
            monkeypatch.setattr(loop, "time", lambda now=now: now)
            pool.give_back(await pool.take())
            assert lookup.asked == asked


@on_both_loops
async def test_addresses_are_looked_up_once_for_all_who_ask_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(echo) as server, pool_at("http://knouds.invalid", connections=9) as pool:
        lookup = Lookup(monkeypatch, server.url)
        await asyncio.gather(*(ask(pool) for _ in range(9)))
    assert (lookup.asked, len(server.lines)) == (1, 9)


@on_both_loops
async def test_another_address_is_tried_where_the_first_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(echo) as server, pool_at("http://knouds.invalid") as pool:
        Lookup(monkeypatch, refusing(), server.url)
        assert (await ask(pool, "/a")).body == b"/a"
