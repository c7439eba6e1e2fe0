"""No token takes all event streams or long polls, and operators always get one."""

import contextlib

import pytest

from config.values import Role
from tests.abuse.api_process import SECRETS
from tests.abuse.raw_client import RawClient, raw_client
from worker.api.auth.principal import Principal
from worker.api.edge.connection_table import ConnectionLimits
from worker.api.problems import Problem
from worker.api.streams import stream_slots
from worker.api.streams.stream_slots import StreamLimits, StreamSlots


def slots(total: int = 8, per_token: int = 3, reserved: int = 2) -> StreamSlots:
    return StreamSlots("streams", "wait", StreamLimits(total, per_token, reserved))


def taken(found: StreamSlots, stack: contextlib.ExitStack, name: str, role: Role) -> bool:
    try:
        stack.enter_context(found.hold(Principal(name, role)))
    except Problem:
        return False
    return True


def test_one_token_has_its_share() -> None:
    found = slots()
    with contextlib.ExitStack() as stack:
        assert [taken(found, stack, "a", Role.WATCH) for _ in range(4)] == [True] * 3 + [False]
        assert taken(found, stack, "b", Role.WATCH)


def test_a_part_is_left_for_operators() -> None:
    found = slots()
    with contextlib.ExitStack() as stack:
        assert all(taken(found, stack, f"w{n}", Role.READ) for n in range(6))
        assert not taken(found, stack, "another", Role.READ)
        assert [taken(found, stack, f"o{n}", Role.OPERATE) for n in range(3)] == [True, True, False]


def test_one_token_of_operators_leaves_a_part_for_others() -> None:
    found = slots()
    with contextlib.ExitStack() as stack:
        assert [taken(found, stack, "o", Role.OPERATE) for _ in range(7)] == [True] * 6 + [False]
        assert taken(found, stack, "another", Role.OPERATE)


def test_what_ends_is_free_again() -> None:
    found = slots(1, 1, 0)
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            assert taken(found, stack, "a", Role.WATCH)
            assert not taken(found, stack, "a", Role.WATCH)


def test_streams_and_long_polls_leave_connections_for_everything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for connections in (16, 160, 928):
        limits = ConnectionLimits(connections, connections // 2)
        monkeypatch.setattr(ConnectionLimits, "of_this_process", lambda found=limits: found)
        kinds = (StreamSlots.for_events(), StreamSlots.for_long_polls())
        assert sum(kind.limits.total for kind in kinds) <= 0.75 * connections


# Over sockets.


@pytest.fixture(autouse=True)
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_slots, "MAX_EVENT_STREAMS", 8)
    monkeypatch.setattr(stream_slots, "MAX_LONG_POLLS", 8)


async def opened(stack: contextlib.AsyncExitStack, url: str, path: str, role: Role) -> RawClient:
    client = await stack.enter_async_context(raw_client(url))
    await client.send_head("GET", path, f"Authorization: Bearer {SECRETS[role]}")
    return client


async def test_one_token_cannot_take_all_event_streams(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await opened(stack, url, "/v1/events", Role.WATCH) for _ in range(4)]
        assert sorted([(await one.answer())[0] for one in clients]) == [200, 200, 429, 429]
        operator = await opened(stack, url, "/v1/events", Role.OPERATE)
        assert (await operator.answer())[0] == 200


async def test_one_token_cannot_take_all_long_polls(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        bearer = f"Authorization: Bearer {SECRETS[Role.ENQUEUE]}"
        body = b'{"id":"j1","kind":"model","target":"suno","inputs":{},"delay_s":3600}'
        enqueued = await stack.enter_async_context(raw_client(url))
        json_type, length = "Content-Type: application/json", f"Content-Length: {len(body)}"
        await enqueued.send(enqueued.head("POST", "/v1/jobs", bearer, json_type, length) + body)
        assert (await enqueued.answer())[0] == 202
        path = "/v1/jobs/j1/wait?timeout_s=0.3"
        clients = [await opened(stack, url, path, Role.WATCH) for _ in range(4)]
        assert sorted([(await one.answer())[0] for one in clients]) == [200, 200, 429, 429]
