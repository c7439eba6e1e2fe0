"""`metadata` of jobs: bounded, echoed wherever a job is shown, and hidden and erased as inputs."""

from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from config.callback_hosts import CallbackHosts
from config.settings import Settings
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.conftest import OpenApi, OpenWithTokens
from tests.api.event_stream_client import streaming
from tests.api.job_factory import JobFactory
from tests.api.test_erasure import contents
from tests.api.token_entries import Entry, bearer
from tests.engine.callback_receiver import SECRET
from worker.app.callback_bodies import StoredCallbackBodies
from worker.app.job_metadata import MAX_METADATA_BYTES
from worker.store import Store

METADATA: dict[str, Any] = {"order": 7, "customer": "secret-name", "paid": True, "price": 1.5}


async def succeed(job_factory: JobFactory, job_id: str) -> None:
    await job_factory.submit(job_id)
    await job_factory.accept(job_id)
    await job_factory.succeed(job_id, b'{"r":1}')


async def test_metadata_are_shown_with_the_job_everywhere(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    reply = await api.enqueue(id="j1", batch="b", metadata=METADATA)
    assert reply.json["metadata"] == METADATA
    await api.enqueue(id="j2", batch="b")
    listed = (await api.get("/v1/jobs")).json["items"]
    assert [(one["id"], one["metadata"]) for one in listed] == [("j2", None), ("j1", METADATA)]
    await succeed(job_factory, "j1")
    assert (await api.job("j1"))["metadata"] == METADATA
    lines = await api.get("/v1/batches/b/results")
    assert lines.status == 200
    assert b'"metadata":{"customer":"secret-name"' in lines.body


async def test_the_event_of_a_job_that_ends_has_its_metadata(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    async with streaming(api.url) as ear:
        await ear.until_begun()
        await api.enqueue(id="j1", metadata=METADATA)
        await succeed(job_factory, "j1")
        found = [await ear.next_event() for _ in range(4)]
    shown = [(one.data["to"], one.data["metadata"]) for one in found if one]
    assert shown == [
        ("queued", None),
        ("submitting", None),
        ("running", None),
        ("succeeded", METADATA),
    ]


@pytest.mark.parametrize("end", ["succeeded", "cancelled"])
async def test_the_body_of_a_callback_has_them(
    open_api: OpenApi, store: Store, settings: Settings, job_factory: JobFactory, end: str
) -> None:
    changes: dict[str, Any] = {
        "callback_hosts": CallbackHosts(("hooks.example.com",)),
        "callback_secret": SecretStr(SECRET),
    }
    async with open_api(store, settings.model_copy(update=changes)) as api:
        url = "https://hooks.example.com/x"
        await api.enqueue(id="j1", metadata=METADATA, callback_url=url)
        if end == "succeeded":
            await succeed(job_factory, "j1")
        else:
            await api.post("/v1/jobs/j1/cancel")
        (found,) = (await api.get("/v1/callbacks?job=j1")).json["items"]
    stored = await store.callbacks.find(found["id"])
    assert stored is not None
    assert b"secret-name" not in stored.data
    body = msgspec.json.decode(await StoredCallbackBodies(store.payloads).body(stored.callback))
    assert (body["type"], body["data"]["metadata"]) == (f"job.{end}", METADATA)


REFUSED: list[tuple[object, str]] = [
    ({"a": {"b": 1}}, "nest nothing"),
    ({"a": None}, "nest nothing"),
    ({"a": [1]}, "nest nothing"),
    ({"": 1}, "1 to 64 characters"),
    ({"k" * 65: 1}, "1 to 64 characters"),
    ({f"k{n}": 1 for n in range(17)}, "may have 16"),
    ({"a": "x" * MAX_METADATA_BYTES}, "bytes of JSON and may be 1024"),
    ([1], "must be a JSON object"),
    ("text", "must be a JSON object"),
]


@pytest.mark.parametrize(("metadata", "text"), REFUSED)
async def test_what_is_no_metadata_is_refused_by_name_without_its_value(
    api: CheckedApi, metadata: object, text: str
) -> None:
    reply = await api.post("/v1/jobs", {**REQUEST, "metadata": metadata})
    assert (reply.status, reply.field) == (422, "metadata"), reply.body
    assert text in reply.detail


async def test_no_metadata_and_empty_ones_are_the_same(api: CheckedApi, store: Store) -> None:
    for _ in range(2):
        assert (await api.enqueue(id="j1", metadata={})).json["metadata"] is None
    assert (await api.enqueue(id="j1")).status == 200
    assert not await store.client.call("HEXISTS", store.keys.job("j1"), "metadata")
    stored = await store.client.call("HGET", store.keys.job("j1"), "rec")
    assert b"metadata" not in stored


async def test_the_same_id_with_other_metadata_is_a_conflict(api: CheckedApi) -> None:
    await api.enqueue(id="j1", metadata={"order": 7})
    assert (await api.enqueue(id="j1", metadata={"order": 7})).status == 200
    for other in ({"order": 8}, {"order": 7, "more": 1}, {}):
        reply = await api.post("/v1/jobs", {**REQUEST, "id": "j1", "metadata": other})
        assert reply.status == 409, other


async def test_a_role_that_may_not_see_inputs_sees_no_metadata(
    open_with_tokens: OpenWithTokens, job_factory: JobFactory
) -> None:
    tokens: list[Entry] = [{"name": "watcher", "role": "watch"}, {"name": "reader", "role": "read"}]
    async with open_with_tokens(tokens) as api:
        body = {**REQUEST, "id": "j1", "batch": "b", "metadata": METADATA}
        await api.post("/v1/jobs", body, headers=bearer("ops"))
        async with (
            streaming(api.url, headers=bearer("watcher")) as watching,
            streaming(api.url, headers=bearer("reader")) as reading,
        ):
            await watching.until_begun()
            await reading.until_begun()
            await succeed(job_factory, "j1")
            watched = [await watching.next_event() for _ in range(3)]
            read = [await reading.next_event() for _ in range(3)]
        assert [one.data["metadata"] for one in watched if one] == [None] * 3
        assert [one.data["metadata"] for one in read if one] == [None, None, METADATA]
        for name, shown in (("watcher", None), ("reader", METADATA)):
            headers = bearer(name)
            job = (await api.call("GET", "/v1/jobs/j1", headers=headers)).json
            page = (await api.call("GET", "/v1/jobs", headers=headers)).json
            assert job["metadata"] == shown
            assert page["items"][0]["metadata"] == shown
            lines = await api.call("GET", "/v1/batches/b/results", headers=headers)
            assert (b"secret-name" in lines.body) == (shown is not None)


async def test_metadata_are_erased_with_the_payloads(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await api.enqueue(id="j1", metadata=METADATA)
    await succeed(job_factory, "j1")
    assert b"secret-name" in await contents(store)
    assert (await api.delete("/v1/jobs/j1/payloads")).status == 200
    assert b"secret-name" not in await contents(store)
    assert (await api.job("j1"))["metadata"] is None


async def test_a_schedule_takes_no_metadata(api: CheckedApi) -> None:
    job = {**REQUEST, "metadata": METADATA}
    reply = await api.put("/v1/schedules/s", {"cron": "0 * * * *", "job": job})
    assert (reply.status, reply.field) == (422, "job.metadata")
