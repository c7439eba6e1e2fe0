"""Many connections and requests that begin at one moment: few begin at a time, of each in turn."""

import asyncio
import contextlib

import pytest

from config.values import Role
from tests.abuse.api_process import SECRETS
from tests.abuse.raw_client import raw_client
from worker.api.edge import fair_turns
from worker.api.edge.fair_turns import FairTurns, is_probe_head

COUNT = 240
"""Connections where 200 may be open."""

WATCH = f"Authorization: Bearer {SECRETS[Role.WATCH]}"


async def begun_by_turn(turns: FairTurns, clients: str) -> list[str]:
    """Which clients' requests begin in each turn of the event loop."""
    found = [""]

    async def one(client: str) -> None:
        await turns.wait(client)
        found[-1] += client

    tasks = [asyncio.create_task(one(client)) for client in clients]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        found.append("")
    return [begun for begun in found if begun]


async def test_few_begin_in_one_turn() -> None:
    assert await begun_by_turn(FairTurns(2), "aaaaa") == ["aa", "aa", "a"]


async def test_each_client_has_its_turn() -> None:
    begun = "".join(await begun_by_turn(FairTurns(1), "aaaaab"))
    assert begun.index("b") <= 2
    assert len(begun) == 6


async def test_one_alone_begins_at_once() -> None:
    turns = FairTurns(1)
    for _ in range(3):
        waiting = turns.wait("a")
        with pytest.raises(StopIteration):  # it ends without a turn of the event loop
            waiting.send(None)
        await asyncio.sleep(0)


async def test_who_gives_up_takes_no_turn() -> None:
    turns, begun = FairTurns(1), list[str]()

    async def one(client: str) -> None:
        await turns.wait(client)
        begun.append(client)

    tasks = [asyncio.create_task(one(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert begun == ["a", "c"]


@pytest.mark.parametrize(
    ("begin", "is_probe"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: a", True),
        (b"GET /prefix/readyz HTTP/1.1\r\n", True),
        (b"GET /v1/jobs HTTP/1.1\r\nReferer: /livez\r\n", False),
        (b"POST /livez HTTP/1.1\r\n", False),
        (b"", False),
    ],
)
def test_a_probe_is_known_by_how_it_begins(begin: bytes, is_probe: bool) -> None:  # noqa: FBT001
    assert is_probe_head(begin) is is_probe


async def test_a_probe_needs_no_turn(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no other request may begin, neither on a new connection nor on an open one."""
    blocked = asyncio.Event()

    async def wait(_turns: FairTurns, _client: str) -> None:
        await blocked.wait()

    async with raw_client(url) as known:
        await known.send_head("GET", "/livez")
        assert (await known.answer())[0] == 200
        monkeypatch.setattr(fair_turns.FairTurns, "wait", wait)
        begin = known.head("GET", "/livez")
        async with raw_client(url) as other, raw_client(url, begin) as probe:
            await other.send_head("GET", "/v1/jobs", WATCH)
            assert (await probe.answer())[0] == 200
            for client in (known, probe):
                for path in ("/livez", "/readyz"):
                    await client.send_head("GET", path)
                    assert (await client.answer())[0] in (200, 503)
            blocked.set()
            assert (await other.answer())[0] == 200


async def test_more_connections_than_places_are_accepted_one_after_another(url: str) -> None:
    """Those that wait to be opened count, so that file descriptors do not run out."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(url)) for _ in range(COUNT)]

        async def one(number: int) -> int:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await clients[number].send_head("GET", "/v1/jobs?limit=1", WATCH)
                return (await clients[number].answer())[0]
            return 0

        statuses = await asyncio.gather(*map(one, range(COUNT)))
        assert set(statuses) <= {0, 200}
        assert statuses.count(200) >= 200
