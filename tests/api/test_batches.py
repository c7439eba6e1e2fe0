"""`/v1/batches`: create, join, seal, read, results by cursor, cancel and requeue."""

import json
from typing import Any

import pytest

from jobs.indexes import Index
from tests.api.checked_api import REQUEST, ApiReply, CheckedApi
from tests.api.job_factory import JobFactory
from tests.api.token_entries import bearer
from worker.app import batches as batches_module
from worker.store import Store


async def create(api: CheckedApi, name: str = "b", **facts: object) -> ApiReply:
    return await api.post("/v1/batches", {"name": name} | facts)


async def shown(api: CheckedApi, name: str = "b") -> Any:
    reply = await api.get(f"/v1/batches/{name}")
    assert reply.status == 200, reply.body
    return reply.json


async def results(api: CheckedApi, name: str = "b", **query: str | int) -> list[dict[str, Any]]:
    reply = await api.get(f"/v1/batches/{name}/results", **query)
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    return [json.loads(line) for line in reply.body.splitlines()]


async def test_a_batch_is_created_filled_sealed_and_shown(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    reply = await create(api, "spring/1", metadata={"customer": 7}, note="agreed")
    assert reply.status == 201
    assert reply.headers["Location"] == "/v1/batches/spring%2F1"
    assert (await api.get("/v1/batches/spring%2F1")).json["metadata"] == {"customer": 7}
    await job_factory.succeeded("j1", batch="spring/1")
    await job_factory.dead("j2", batch="spring/1")
    await job_factory.queued("j3", batch="spring/1")
    found = await shown(api, "spring%2F1")
    assert (found["state"], found["total"]) == ("open", 3)
    assert (found["states"]["succeeded"], found["states"]["dead"]) == (1, 1)
    assert [one["jobs"] for one in found["failures"]] == [1]
    sealed = await api.post("/v1/batches/spring%2F1/seal", {"note": "all sent"})
    assert (sealed.status, sealed.json["state"]) == (200, "sealed")
    assert sealed.json["sealed_at"] is not None
    joined = await api.post("/v1/jobs", REQUEST | {"batch": "spring/1"})
    assert (joined.status, joined.json["type"]) == (409, "urn:knouds-worker:problem:batch-sealed")
    assert joined.json["field"] == "batch"
    (entry,) = (await api.get("/v1/audit", act="seal_batch")).json["items"]
    assert (entry["on"], entry["note"]) == ("batch spring/1", "all sent")


async def test_creating_the_same_batch_again_changes_nothing(api: CheckedApi) -> None:
    assert (await create(api, metadata={"a": 1})).status == 201
    again = await create(api, metadata={"a": 1})
    assert (again.status, again.json["metadata"]) == (200, {"a": 1})
    other = await create(api, metadata={"a": 2})
    assert (other.status, other.json["type"]) == (409, "urn:knouds-worker:problem:batch-exists")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "no spaces"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": "b", "metadata": [1]}, "metadata"),
        ({"name": "b", "metadata": {"a": "x" * 5_000}}, "metadata"),
        ({"name": "b", "budget": 0}, "budget"),
        ({"name": "b", "budget": "many"}, "budget"),
        ({"name": "b", "owner": "me"}, "owner"),
    ],
)
async def test_a_wrong_batch_is_refused_with_its_field(
    api: CheckedApi, store: Store, body: dict[str, object], field: str
) -> None:
    reply = await api.post("/v1/batches", body)
    assert (reply.status, reply.json["field"]) == (422, field)
    assert await store.client.call("EXISTS", store.keys.batches) == 0


@pytest.mark.parametrize("verb", ["seal", "cancel", "requeue-failed"])
async def test_a_batch_that_is_not_there_is_not_found(api: CheckedApi, verb: str) -> None:
    for path in ("none", "a b", "red~none"):
        assert (await api.get(f"/v1/batches/{path}")).status == 404
        assert (await api.get(f"/v1/batches/{path}/results")).status == 404
        reply = await api.post(f"/v1/batches/{path}/{verb}", {})
        assert (reply.status, reply.json["type"]) == (
            404,
            "urn:knouds-worker:problem:no-such-batch",
        )


async def test_results_are_read_on_from_a_cursor(api: CheckedApi, job_factory: JobFactory) -> None:
    for n in range(5):
        await job_factory.succeeded(f"j{n}", batch="b")
    await job_factory.queued("waits", batch="b")
    rows = await results(api)
    assert [row["id"] for row in rows] == [f"j{n}" for n in range(5)]
    assert {row["state"] for row in rows} == {"succeeded"}
    assert rows[0]["result"] is not None
    first = await api.get("/v1/batches/b/results", limit=2)
    assert 'rel="next"' in first.headers["Link"]
    behind = [row["id"] for row in await results(api, cursor=rows[1]["cursor"])]
    assert behind == ["j2", "j3", "j4"]
    assert await results(api, cursor=rows[-1]["cursor"]) == []
    await job_factory.succeeded("later", batch="b")
    assert [row["id"] for row in await results(api, cursor=rows[-1]["cursor"])] == ["later"]


async def test_a_page_of_results_is_bounded_in_bytes(
    api: CheckedApi, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        await job_factory.succeeded(f"j{n}", batch="b")
    monkeypatch.setattr(batches_module, "MAX_RESULTS_BYTES", 1)
    seen: list[str] = []
    cursor = "0"
    while rows := await results(api, cursor=cursor):
        assert len(rows) == 1
        seen.append(rows[0]["id"])
        cursor = rows[0]["cursor"]
    assert seen == ["j0", "j1", "j2", "j3"]


@pytest.mark.parametrize("cursor", ["x", "-1", "inf", "nan", "1e999"])
async def test_a_wrong_cursor_is_refused(
    api: CheckedApi, job_factory: JobFactory, cursor: str
) -> None:
    await job_factory.succeeded("j1", batch="b")
    reply = await api.get("/v1/batches/b/results", cursor=cursor)
    assert (reply.status, reply.json["field"]) == (400, "cursor")


async def test_cancel_seals_and_cancels_what_has_not_settled(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued("q", batch="b")
    await job_factory.succeeded("s", batch="b")
    await job_factory.queued("other", batch="c")
    reply = await api.post("/v1/batches/b/cancel", {"note": "wrong model"})
    assert reply.status == 200
    assert reply.json["jobs"]["done"] == 1
    batch = reply.json["batch"]
    assert (batch["state"], batch["states"]["cancelled"]) == ("complete", 1)
    assert batch["cancelled_at"] is not None
    assert (await api.post("/v1/jobs", REQUEST | {"batch": "b"})).status == 409
    assert (await api.get("/v1/jobs/other")).json["state"] == "queued"


async def test_dead_letters_of_a_batch_are_requeued(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.dead("d", batch="b")
    await job_factory.dead("other", batch="c")
    await api.post("/v1/batches/b/seal", {})
    reply = await api.post("/v1/batches/b/requeue-failed", {})
    assert (reply.status, reply.json["jobs"]["done"]) == (200, 1)
    assert reply.json["batch"]["state"] == "sealed"
    states = [(await api.get(f"/v1/jobs/{name}")).json["state"] for name in ("d", "other")]
    assert states == ["queued", "dead"]


async def test_batches_are_listed_in_pages(api: CheckedApi, job_factory: JobFactory) -> None:
    for n in range(3):
        await create(api, f"b{n}")
    await job_factory.queued("q", batch="named")
    page = (await api.get("/v1/batches", limit=2)).json
    more = (await api.get("/v1/batches", limit=2, cursor=page["next_cursor"])).json
    assert more["next_cursor"] is None
    names = {one["name"] for one in page["items"] + more["items"]}
    assert names == {"b0", "b1", "b2", "named"}


async def test_the_budget_of_a_batch_limits_its_jobs_alone(api: CheckedApi) -> None:
    assert (await create(api, budget=50)).status == 201
    (budget,) = (await api.get("/v1/budgets")).json["items"]
    assert (budget["scope"], budget["period"], budget["limit"]) == ("batch:b", "total", 50)
    assert (await create(api, budget=50)).status == 200
    assert len((await api.get("/v1/budgets")).json["items"]) == 1


async def test_a_batch_is_of_its_tenant(of_tenants: CheckedApi, store: Store) -> None:
    for token in ("red-app", "blue-app"):
        body = {"name": "b", "metadata": {"of": token}}
        made = await of_tenants.post("/v1/batches", body, headers=bearer(token))
        assert (made.status, made.json) == (201, {"name": "b", "state": "open"})
        joined = await of_tenants.post(
            "/v1/jobs", REQUEST | {"id": "j", "batch": "b"}, headers=bearer(token)
        )
        assert joined.status == 202
    await of_tenants.post("/v1/batches/b/seal", {}, headers=bearer("red-app"))

    async def get(token: str, path: str) -> ApiReply:
        return await of_tenants.call("GET", path, headers=bearer(token))

    red, blue = [(await get(f"{one}-own", "/v1/batches/b")).json for one in ("red", "blue")]
    assert (red["state"], blue["state"]) == ("sealed", "open")
    assert (red["metadata"], red["total"], red["name"]) == ({"of": "red-app"}, 1, "b")
    assert [one["name"] for one in (await get("red-own", "/v1/batches")).json["items"]] == ["b"]
    assert (await get("red-own", "/v1/batches/blue~b")).status == 404
    listed = (await get("red-own", "/v1/jobs?batch=b")).json["items"]
    assert [job["id"] for job in listed] == ["j"]
    assert (await get("ops", "/v1/batches/red~b")).json["tenant"] == "red"
    stored = await store.client.call("ZRANGE", store.keys.index(Index.BATCH, "red~b"), 0, -1)
    assert stored == [b"red~j"]


async def test_an_app_seals_no_batch_of_a_tenant_and_sets_no_budget(
    of_tenants: CheckedApi,
) -> None:
    await of_tenants.post("/v1/batches", {"name": "b"}, headers=bearer("red-app"))
    sealed = await of_tenants.post("/v1/batches/red~b/seal", {}, headers=bearer("app"))
    assert sealed.status == 404
    for token in ("app", "red-ops"):
        body = {"name": "c", "budget": 5}
        made = await of_tenants.post("/v1/batches", body, headers=bearer(token))
        assert (made.status, made.json["field"]) == (403, "budget")
    operator = await of_tenants.post("/v1/batches/red~b/seal", {}, headers=bearer("ops"))
    assert (operator.status, operator.json["state"]) == (200, "complete")


async def test_one_sealed_batch_of_a_bulk_refuses_its_jobs_alone(
    api: CheckedApi,
) -> None:
    await create(api)
    await api.post("/v1/batches/b/seal", {})
    rows = [REQUEST | {"id": "in", "batch": "b"}, REQUEST | {"id": "out"}]
    reply = await api.post("/v1/jobs/bulk", {"jobs": rows})
    assert [row["status"] for row in reply.json["results"]] == [409, 202]
    assert reply.json["results"][0]["error"]["type"] == "urn:knouds-worker:problem:batch-sealed"
