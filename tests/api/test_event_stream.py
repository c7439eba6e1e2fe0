"""`GET /v1/events`: each transition once, in order; a client that reconnects misses none."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import pytest

from config.settings import Settings
from tests.api.checked_api import DOCUMENT, CheckedApi, until
from tests.api.conftest import OpenApi
from tests.api.event_stream_client import EventStreamClient, streaming
from tests.api.job_factory import JobFactory
from tests.chaos.killable_redis import KillableRedis
from worker.api.handlers import events as handler
from worker.api.handlers.events import CONTENT_TYPE
from worker.api.streams import broadcaster, stream_slots
from worker.clock import SystemClock
from worker.compose.api import running
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.tasks import cancel_and_wait

NEW_TO_RUNNING = [(None, "queued"), ("queued", "submitting"), ("submitting", "running")]


async def test_every_transition_is_streamed_in_order(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    async with streaming(api.url) as ear:
        await ear.until_begun()
        await job_factory.dead("j1")
        found = [await ear.next_event() for _ in range(3)]
    moves = [(heard.data["from"], heard.data["to"]) for heard in found if heard]
    assert moves == [(None, "queued"), ("queued", "submitting"), ("submitting", "dead")]
    last = found[-1]
    assert last is not None
    assert last.data | {"at": ""} == {
        "id": "j1",
        "tenant": "",
        "kind": "model",
        "target": "gpt-image-2",
        "account": "default",
        "from": "submitting",
        "to": "dead",
        "at": "",
        "code": "INVALID_INPUTS",
        "metadata": None,
    }
    assert last.data["at"].endswith("Z")


async def test_only_what_comes_from_now_on_is_streamed(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued("before")
    async with streaming(api.url) as ear:
        await ear.until_begun()
        await job_factory.queued("after")
        assert await ear.transitions(1) == [("after", None, "queued")]


@pytest.mark.parametrize("way", ["header", "query"])
async def test_who_comes_back_gets_what_came_meanwhile(
    api: CheckedApi, job_factory: JobFactory, way: str
) -> None:
    async with streaming(api.url) as ear:
        await ear.until_begun()
        await job_factory.queued("j1")
        await ear.transitions(1)
        seen = ear.last_id
    await job_factory.queued("j2")
    await job_factory.queued("j3")
    headers = {"Last-Event-ID": seen} if way == "header" else {}
    params = {} if way == "header" else {"last_event_id": seen}
    async with streaming(api.url, headers=headers, **params) as ear:
        assert await ear.transitions(2) == [("j2", None, "queued"), ("j3", None, "queued")]
        await job_factory.queued("j4")
        assert await ear.transitions(1) == [("j4", None, "queued")]


async def test_between_the_past_and_the_present_nothing_is_lost_or_streamed_twice(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    """Clients come back at every moment while jobs are written."""
    await job_factory.queued("first")
    async with streaming(api.url, last_event_id="0-0") as ear:
        heard = await ear.next_event()
        assert heard is not None
        first = heard if heard.event == "job" else await ear.next_event()
    assert first is not None
    names = [f"j{n}" for n in range(60)]

    async def write() -> None:
        for name in names:
            await job_factory.queued(name)

    async def come_back() -> list[str]:
        async with streaming(api.url, last_event_id=first.id) as ear:
            return [name for name, _, _ in await ear.transitions(len(names))]

    writing = asyncio.create_task(write())
    for found in await asyncio.gather(*(come_back() for _ in range(12))):
        assert found == names
    await writing


async def test_the_id_of_an_entry_is_on_its_last_event(api: CheckedApi, store: Store) -> None:
    """Broken off in the middle of an entry, a client gets all of it again."""
    async with streaming(api.url) as ear:
        await ear.until_begun()
        before = ear.last_id
        await _write_entry(store, "j1", "j2", "j3")
        found = [await ear.next_event() for _ in range(3)]
    ids = [heard.id for heard in found if heard]
    assert ids[0] == ids[1] == before
    assert ids[2] != before


async def _write_entry(store: Store, *names: str) -> None:
    facts = '{"id":"%s","lane":"default/model/suno","from":"queued","to":"submitting","at":1.5}'
    fields = [part for name in names for part in ("t", facts % name)]
    await store.client.call("XADD", store.keys.events, "*", *fields)


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        ({"state": "queued"}, 2),
        ({"state": "running"}, 1),
        ({"kind": "model", "target": "gpt-image-2", "account": "default"}, 3),
        ({"kind": "workflow"}, 0),
        ({"target": "suno"}, 0),
        ({"account": "studio"}, 0),
    ],
)
async def test_a_filter_hides_the_others(
    api: CheckedApi, job_factory: JobFactory, store: Store, wish: dict[str, str], wanted: int
) -> None:
    async with streaming(api.url, headers=None, **wish) as ear:
        await ear.until_begun()
        await job_factory.running("j1")
        assert [name for name, _, _ in await ear.transitions(wanted)] == ["j1"] * wanted
        # What ends the test has to fit every wish.
        lane = "{account}/{kind}/{target}".format(
            account=wish.get("account", "default"),
            kind=wish.get("kind", "model"),
            target=wish.get("target", "gpt-image-2"),
        )
        state = wish.get("state", "queued")
        fact = f'{{"id":"end","lane":"{lane}","from":null,"to":"{state}","at":1}}'
        await store.client.call("XADD", store.keys.events, "*", "t", fact)
        assert (await ear.transitions(1))[0][0] == "end"


async def test_what_was_trimmed_away_is_streamed_as_a_reset(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.queued("j1")
    await job_factory.queued("j2")
    extent = await store.events.extent()
    await store.client.call("XTRIM", store.keys.events, "MINID", extent.last)
    async with streaming(api.url, last_event_id=extent.first) as ear:
        heard = await ear.next_event()
        assert heard is not None
        assert heard.event == "reset"
        assert await ear.transitions(1) == [("j2", None, "queued")]


async def test_an_id_of_another_life_of_redis_is_a_reset(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1")
    async with streaming(api.url, last_event_id="99999999999999-0") as ear:
        heard = await ear.next_event()
        assert heard is not None
        assert heard.event == "reset"
        assert await ear.transitions(1) == [("j1", None, "queued")]


async def test_what_is_not_ours_in_the_stream_is_passed_over(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    async with streaming(api.url) as ear:
        await ear.until_begun()
        for text in ("{", '{"id":1}', '{"id":"x","lane":"no","from":null,"to":"queued","at":1}'):
            await store.client.call("XADD", store.keys.events, "*", "t", text)
        await job_factory.queued("j1")
        assert await ear.transitions(1) == [("j1", None, "queued")]


@pytest.mark.parametrize("given", ["abc", "1-2-3", "-1", "9" * 40])
async def test_an_id_that_is_none_is_refused(api: CheckedApi, given: str) -> None:
    assert (await api.get("/v1/events", last_event_id=given)).status == 400
    reply = await api.call("GET", "/v1/events", headers={"Last-Event-ID": given})
    assert (reply.status, reply.field) == (400, "Last-Event-ID")


async def test_head_ends_at_once(api: CheckedApi) -> None:
    reply = await api.call("HEAD", "/v1/events")
    assert (reply.status, reply.headers["Content-Type"]) == (200, CONTENT_TYPE)


async def test_one_reader_serves_all(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    async with (
        streaming(api.url) as one,
        streaming(api.url) as two,
        streaming(api.url, state="running") as three,
    ):
        for ear in (one, two, three):
            await ear.until_begun()
        await until(partial(_blocked, store))
        await job_factory.running("j1")
        for ear in (one, two):
            assert [(b, a) for _, b, a in await ear.transitions(3)] == NEW_TO_RUNNING
        assert [(b, a) for _, b, a in await three.transitions(1)] == NEW_TO_RUNNING[2:]


async def _blocked(store: Store) -> bool:
    """Whether exactly one connection waits in a blocking read."""
    clients: list[dict[str, str]] = await store.client.call("CLIENT LIST")
    return sum(client["cmd"].startswith("xread") for client in clients) == 1


# Listeners that are too many, too slow, or left alone.


@pytest.fixture
def one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """To be used before `api`."""
    monkeypatch.setattr(stream_slots, "MAX_EVENT_STREAMS", 1)


@pytest.mark.usefixtures("one_stream")
async def test_more_than_so_many_are_refused(api: CheckedApi) -> None:
    async with streaming(api.url) as ear:
        await ear.until_begun()
        reply = await api.get("/v1/events")
        assert (reply.status, reply.headers["Retry-After"]) == (429, "2")


@pytest.mark.usefixtures("one_stream")
async def test_a_client_that_goes_away_frees_its_place(api: CheckedApi) -> None:
    async with streaming(api.url) as ear:
        await ear.until_begun()
    started = asyncio.get_running_loop().time()
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(AssertionError):
                async with streaming(api.url) as ear:
                    await ear.until_begun()
                    break
            await asyncio.sleep(0.05)
    assert asyncio.get_running_loop().time() - started < 2


async def test_a_client_that_does_not_keep_up_has_to_start_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster, "MAX_QUEUED_BATCHES", 10)
    source = broadcaster.EventBroadcaster(store.events, store.payloads)
    reading = asyncio.create_task(source.run())
    try:
        async with source.subscribe(None) as slow, source.subscribe(None) as quick:
            assert isinstance(await anext(slow), broadcaster.EventBatch)
            assert isinstance(await anext(quick), broadcaster.EventBatch)
            for n in range(12):
                await _write_entry(store, f"j{n}")
                assert isinstance(await anext(quick), broadcaster.EventBatch)
            left = [what async for what in slow]
            assert [type(what) for what in left] == [broadcaster.StreamReset]
            assert source.listener_count == 1
            await _write_entry(store, "more")
            assert isinstance(await anext(quick), broadcaster.EventBatch)
    finally:
        await cancel_and_wait(reading)  # one cancel can be lost in a call of Redis


async def test_what_is_written_while_the_past_is_read_is_streamed_once(store: Store) -> None:
    source = broadcaster.EventBroadcaster(store.events, store.payloads)
    reading = asyncio.create_task(source.run())
    await _write_entry(store, "first")
    await _write_entry(store, "past")
    first = (await store.events.extent()).first
    try:
        async with source.subscribe(first) as batches:
            await _write_entry(store, "present")
            names = [(await anext(batches)).id for _ in range(2)]
            await _write_entry(store, "last")
            names.append((await anext(batches)).id)
        assert len(set(names)) == 3
        assert names[-1] == (await store.events.extent()).last
    finally:
        await cancel_and_wait(reading)  # one cancel can be lost in a call of Redis


async def test_silence_is_broken_by_a_heartbeat(
    api: CheckedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster, "KEEPALIVE_S", 0.05)
    async with streaming(api.url) as ear:
        await ear.until_begun()
        lines = [await ear.answer.content.readline() for _ in range(6)]
        assert lines.count(b": here\n") == 2


async def test_a_stream_ends_in_time_so_that_its_client_is_asked_anew(
    api: CheckedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "MAX_STREAM_S", 0.1)
    async with streaming(api.url) as ear:
        assert await ear.next_event() is None


async def test_when_the_server_stops_streams_end(store: Store, settings: Settings) -> None:
    async with asyncio.timeout(5):
        async with running(settings, store) as url:
            ear = streaming(url)
            open_ear: EventStreamClient = await ear.__aenter__()
            await open_ear.until_begun()
        assert await open_ear.next_event() is None
        await ear.__aexit__(None, None, None)


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncGenerator[KillableRedis]:
    server = KillableRedis(tmp_path / "redis")
    await server.start()
    yield server
    await server.kill()


async def test_an_open_stream_outlives_an_outage_of_redis(
    own_redis: KillableRedis, open_api: OpenApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.data_recovery.MAX_WAIT_S", 0.0)  # for workers: there are none
    settings = Settings(namespace="t", http_port=0)
    redis = connect(settings, own_redis.url)
    store = open_store(redis, "t")
    job_factory = JobFactory(store, SystemClock())
    async with open_api(store, settings) as api, streaming(api.url) as ear:
        await ear.until_begun()
        await job_factory.queued("j1")
        await ear.transitions(1)
        await store.client.call("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        await job_factory.queued("j2")
        assert await ear.transitions(1) == [("j2", None, "queued")]
        await store.client.call("FLUSHALL")
        heard = await ear.next_event()
        assert heard is not None
        assert heard.event == "reset"
        await job_factory.queued("j3")
        assert await ear.transitions(1) == [("j3", None, "queued")]
    await redis.aclose()


def test_the_document_says_what_a_stream_holds() -> None:
    answer = DOCUMENT["paths"]["/v1/events"]["get"]["responses"]["200"]
    schema = answer["content"][CONTENT_TYPE]["schema"]
    one, breaker, *_ = schema["properties"]["data"]["contentSchema"]["anyOf"]
    assert one == {"$ref": "#/components/schemas/Transition"}
    assert breaker == {"$ref": "#/components/schemas/BreakerEvent"}
    assert "from" in DOCUMENT["components"]["schemas"]["Transition"]["properties"]
