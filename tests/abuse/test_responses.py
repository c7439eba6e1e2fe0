"""Responses: how many bytes of them are in memory at once, and for how long."""

import asyncio
import contextlib
import gc
import weakref

import pytest

from config.settings import Settings
from config.values import Role
from tests.abuse.api_process import SECRETS
from tests.abuse.raw_client import RawClient, raw_client
from tests.engine.live_system import wait_until
from tests.unit.core.job_builders import a_job
from worker.api.edge import acceptor, connection, responses
from worker.api.edge.body_budget import OverBudget
from worker.api.edge.response_budget import SMALL_BYTES, ResponseBudget
from worker.api.edge.responses import Responses
from worker.api.handlers.jobs import JOBS_AT_ONCE
from worker.store import Store
from worker.store.payloads import RESULT

MB = 1_000_000
READ = f"Authorization: Bearer {SECRETS[Role.READ]}"
OPERATE = f"Authorization: Bearer {SECRETS[Role.OPERATE]}"


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_client_has_its_share_and_waits_for_it() -> None:
    budget = ResponseBudget(10 * MB, 6 * MB, 60)
    await budget.take("a", 4 * MB)
    second = asyncio.create_task(budget.take("a", 3 * MB))
    third = asyncio.create_task(budget.take("a", 1 * MB))
    await turn()
    assert not second.done()
    assert not third.done(), "whoever came first is served first"
    await budget.take("b", 5 * MB)
    budget.give_back("a", 4 * MB)
    await asyncio.gather(second, third)
    assert budget.used_bytes == 9 * MB


async def test_clients_that_wait_have_their_turn_one_after_another() -> None:
    budget = ResponseBudget(6 * MB, 6 * MB, 60)
    await budget.take("z", 6 * MB)
    order = list[str]()

    async def one(client: str) -> None:
        await budget.take(client, 6 * MB)
        order.append(client)
        budget.give_back(client, 6 * MB)

    tasks = [asyncio.create_task(one(client)) for client in "aaab"]
    await turn()
    budget.give_back("z", 6 * MB)
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "a", "a"]
    assert budget.used_bytes == 0


async def test_a_large_response_is_not_overtaken_for_ever() -> None:
    budget = ResponseBudget(6 * MB, 6 * MB, 60)
    await budget.take("z", 3 * MB)
    large = asyncio.create_task(budget.take("a", 6 * MB))
    await turn()
    budget.give_back("z", 1 * MB)
    later = asyncio.create_task(budget.take("a", 1 * MB))
    await turn()
    assert not later.done()
    budget.give_back("z", 2 * MB)
    await large
    budget.give_back("a", 6 * MB)
    await later


async def test_who_waits_too_long_is_told_whose_bytes_it_is() -> None:
    budget = ResponseBudget(6 * MB, 4 * MB, 0.01)
    await budget.take("a", 4 * MB)
    for client, is_of_client in (("a", True), ("b", False)):
        with pytest.raises(OverBudget) as caught:
            await budget.take(client, 3 * MB)
        assert caught.value.is_of_client is is_of_client
    budget.give_back("a", 4 * MB)
    await budget.take("b", 3 * MB)
    assert budget.used_bytes == 3 * MB


async def test_who_waits_behind_its_own_is_told_so() -> None:
    budget = ResponseBudget(8 * MB, 4 * MB, 60)
    await budget.take("a", 2 * MB)
    first = asyncio.create_task(budget.take("a", 3 * MB))
    await turn()
    budget.wait_s = 0.01
    with pytest.raises(OverBudget) as caught:
        await budget.take("a", 1 * MB)
    assert caught.value.is_of_client, "it would fit, but for what this client asked before"
    budget.give_back("a", 2 * MB)
    await first


async def test_small_responses_never_wait_and_one_larger_than_the_share_is_possible() -> None:
    budget = ResponseBudget(6 * MB, 3 * MB, 0.01)
    await budget.take("a", 9 * MB)
    await budget.take("a", SMALL_BYTES)
    await budget.take("b", SMALL_BYTES)
    with pytest.raises(OverBudget):
        await budget.take("b", SMALL_BYTES + 1)


async def test_who_gives_up_waiting_takes_nothing() -> None:
    budget = ResponseBudget(6 * MB, 6 * MB, 60)
    await budget.take("a", 6 * MB)
    waiting = [asyncio.create_task(budget.take("a", 6 * MB)) for _ in range(2)]
    await turn()
    waiting[0].cancel()
    budget.give_back("a", 6 * MB)
    await waiting[1]
    budget.give_back("a", 6 * MB)
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]
    assert budget.used_bytes == 0


# Over sockets.


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token has room for one response of 9 MB while it is built, and there are two shares."""
    monkeypatch.setattr(responses, "BUDGET_BYTES", 40 * MB)
    monkeypatch.setattr(acceptor, "OVERDUE_CHECK_INTERVAL_S", 0.05)


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """To be used before `url`."""
    monkeypatch.setattr(responses, "WAIT_S", 0.2)


async def large_job(store: Store, url: str) -> None:
    bearer = f"Authorization: Bearer {SECRETS[Role.ENQUEUE]}"
    body = b'{"id":"big","kind":"model","target":"suno","inputs":{},"delay_s":3600}'
    async with raw_client(url) as client:
        length = f"Content-Length: {len(body)}"
        await client.send_head("POST", "/v1/jobs", bearer, "Content-Type: application/json", length)
        await client.send(body)
        assert (await client.answer())[0] == 202
    result = b'{"text":"%s"}' % (b"x" * 9 * MB)
    await store.client.call("HSET", store.keys.job("big"), RESULT, result)


async def asked(stack: contextlib.AsyncExitStack, url: str, *headers: str) -> RawClient:
    """A client that asks for the large job, and reads nothing yet."""
    client = await stack.enter_async_context(raw_client(url))
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.send_head("GET", "/v1/jobs/big", *headers)
    return client


async def test_responses_wait_for_one_another_and_all_arrive(url: str, store: Store) -> None:
    await large_job(store, url)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await asked(stack, url, READ) for _ in range(4)]
        for client in clients:
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answers = await asyncio.gather(*(client.answer() for client in clients))
        assert [(status, len(text) > 9 * MB) for status, text in answers] == [(200, True)] * 4


async def test_who_reads_nothing_keeps_only_its_own_token_waiting(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await large_job(store, url)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await asked(stack, url, READ)
        async with raw_client(url) as other:
            await other.send_head("GET", "/v1/jobs/big", OPERATE)
            assert (await other.answer())[0] == 200
        monkeypatch.setattr(connection, "SEND_TIMEOUT_S", 0.2)
        async with raw_client(url) as late:
            await late.send_head("GET", "/v1/jobs/big", READ)
            assert (await late.answer())[0] == 200


@pytest.mark.usefixtures("short_wait")
async def test_a_response_without_room_is_refused_after_a_while(url: str, store: Store) -> None:
    await large_job(store, url)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await asked(stack, url, READ)
        async with raw_client(url) as late:
            await late.send_head("GET", "/v1/jobs/big", READ)
            status, text = await late.answer()
        assert status == 429
        assert b"retry-after: 5" in text.lower()


async def test_who_takes_a_response_drop_by_drop_is_let_go(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "SEND_BASE_S", 0.3)
    monkeypatch.setattr(responses, "SLOWEST_BYTES_PER_S", 1_000 * MB)
    await large_job(store, url)
    async with contextlib.AsyncExitStack() as stack:
        client = await asked(stack, url, READ)
        await asyncio.sleep(0.5)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.answer()


async def test_nothing_is_kept_of_a_response_whose_client_has_left(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even until the next garbage collection: a hundred such bodies fill the memory."""
    bodies: list[weakref.ref[object]] = []
    made = responses._Parts.__init__  # pyright: ignore[reportPrivateUsage]

    def noted(self: responses._Parts, body: bytes) -> None:  # pyright: ignore[reportPrivateUsage]
        made(self, body)
        bodies.append(weakref.ref(self))

    monkeypatch.setattr(responses._Parts, "__init__", noted)  # pyright: ignore[reportPrivateUsage]
    await large_job(store, url)
    gc.collect()
    gc.disable()
    try:
        async with contextlib.AsyncExitStack() as stack:
            client = await asked(stack, url, READ)
            await wait_until(lambda: is_true(bool(bodies)), "the response is built")
            await wait_until(lambda: is_true(bodies[0]() is not None), "it is being sent")
            client.writer.transport.abort()
            await wait_until(lambda: is_true(bodies[0]() is None), "its body is gone")
    finally:
        gc.enable()


async def is_true(claim: bool) -> bool:  # noqa: FBT001  a claim, for `wait_until`
    return claim


async def test_few_large_responses_are_put_together_at_once_and_of_a_client_one() -> None:
    building = Responses.of(Settings()).building
    await building.take("a", 1)
    second = asyncio.create_task(building.take("a", 1))
    await turn()
    assert not second.done(), "of a client one at a time"
    await building.take("b", 1)
    third = asyncio.create_task(building.take("c", 1))
    await turn()
    assert not third.done(), "two at once in all"
    building.give_back("b", 1)
    await third
    building.give_back("a", 1)
    await second


async def test_a_long_list_is_put_together_step_by_step(url: str, store: Store) -> None:
    """While it is, others have their turn; and after it nothing is counted any more."""
    for number in range(3 * JOBS_AT_ONCE):
        await store.jobs.create(a_job(id=f"j{number}"), b"{}")
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(url)) for _ in range(5)]
        for client in clients:
            await client.send_head("GET", "/v1/jobs?limit=500", READ)
        answers = await asyncio.gather(*(client.answer() for client in clients))
    assert [status for status, _ in answers] == [200] * 5
    assert all(text.count(b'"state":"queued"') == 3 * JOBS_AT_ONCE for _, text in answers)
