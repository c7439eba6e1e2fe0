"""Tenants: the same id in two of them is two jobs, and neither sees or changes the other's."""

import re

import pytest

from config.values import Role
from jobs.holds import Hold, hold_id
from jobs.lanes import Scope
from jobs.tenants import app_job_id, tenant_job_id, tenant_of
from tests.api.checked_api import REQUEST, ApiReply, CheckedApi
from tests.api.cookie_browser import browsing
from tests.api.event_stream_client import streaming
from tests.api.job_factory import JobFactory
from tests.api.token_entries import bearer
from worker.api.auth.principal import Visibility
from worker.api.endpoints import Endpoint
from worker.compose.api import ENDPOINTS
from worker.store import Store


async def enqueue(api: CheckedApi, token: str, **facts: object) -> ApiReply:
    return await api.post("/v1/jobs", REQUEST | facts, headers=bearer(token))


async def get(api: CheckedApi, token: str, path: str) -> ApiReply:
    return await api.call("GET", path, headers=bearer(token))


def test_an_id_names_its_tenant() -> None:
    for tenant in ("", "red"):
        stored = tenant_job_id(tenant, "order-1")
        assert (tenant_of(stored), app_job_id(stored)) == (tenant, "order-1")
    assert tenant_job_id("red", "order-1") != tenant_job_id("blue", "order-1")


async def test_an_id_is_of_its_tenant(of_tenants: CheckedApi, store: Store) -> None:
    for token in ("red-app", "blue-app", "app"):
        reply = await enqueue(of_tenants, token, id="order-1", tags=[token])
        assert (reply.status, reply.json["id"]) == (202, "order-1")
        assert reply.headers["Location"] == "/v1/jobs/order-1"
    assert (await enqueue(of_tenants, "red-new-name", id="order-1", tags=["red-app"])).status == 200
    assert (await enqueue(of_tenants, "red-app", id="order-1", tags=["new"])).status == 409
    for token, tag in (("red-own", "red-app"), ("blue-own", "blue-app")):
        job = (await get(of_tenants, token, "/v1/jobs/order-1")).json
        assert (job["id"], job["tags"], job["inputs"]) == ("order-1", [tag], REQUEST["inputs"])
    assert await store.jobs.load("red~order-1") is not None


async def test_a_made_id_is_of_the_tenant_too(of_tenants: CheckedApi) -> None:
    name = (await enqueue(of_tenants, "red-app")).json["id"]
    assert (await get(of_tenants, "red-own", f"/v1/jobs/{name}")).status == 200
    assert (await get(of_tenants, "blue-own", f"/v1/jobs/{name}")).status == 404
    body = {"jobs": [REQUEST | {"id": "b-1"}, REQUEST]}
    bulk = await of_tenants.post("/v1/jobs/bulk", body, headers=bearer("red-app"))
    for row in bulk.json["results"]:
        assert (await get(of_tenants, "red-own", f"/v1/jobs/{row['id']}")).status == 200


async def test_the_same_request_tells_an_enqueue_token_nothing_that_others_wrote(
    of_tenants: CheckedApi,
) -> None:
    """A provider may quote the inputs in its messages, and an operator writes notes."""
    assert (await enqueue(of_tenants, "app", id="order-1")).status == 202
    note = {"note": "a customer of ours"}
    parked = await of_tenants.post("/v1/jobs/order-1/park", note, headers=bearer("ops"))
    assert parked.status == 200
    again = await enqueue(of_tenants, "other-app", id="order-1")
    assert again.status == 200
    assert set(again.json) == {"id", "state", "created_at", "est_cost"}
    assert again.json["state"] == "parked"
    assert set((await enqueue(of_tenants, "ops", id="order-1")).json) > {"events", "reason"}


async def test_an_own_token_reads_and_awaits_its_jobs_and_nothing_else(
    of_tenants: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.succeeded("red~done", b'{"images":[]}')
    await job_factory.succeeded("blue~theirs", b'{"images":[]}')
    await job_factory.succeeded("nobodys", b'{"images":[]}')
    done = (await get(of_tenants, "red-own", "/v1/jobs/done/wait?timeout_s=0")).json
    assert (done["id"], done["tenant"], done["result"]) == ("done", "red", {"images": []})
    listed = (await get(of_tenants, "red-own", "/v1/jobs?tenant=blue")).json
    assert [job["id"] for job in listed["items"]] == ["done"]
    for path in ("theirs", "blue~theirs", "red~done", "nobodys"):
        for suffix in ("", "/wait?timeout_s=0"):
            reply = await get(of_tenants, "red-own", f"/v1/jobs/{path}{suffix}")
            assert reply.status == 404, path
    for path in ("/v1/stats", "/v1/holds", "/v1/jobs/done/why", "/v1/audit", "/metrics"):
        assert (await get(of_tenants, "red-own", path)).status == 403, path
    assert (await get(of_tenants, "red-app", "/v1/jobs/done")).status == 403


async def test_operators_of_no_tenant_see_every_job_with_its_tenant(
    of_tenants: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued("red~a")
    await job_factory.queued("blue~a")
    await job_factory.queued("a")
    items = (await get(of_tenants, "ops", "/v1/jobs")).json["items"]
    assert {(job["id"], job["tenant"]) for job in items} == {
        ("red~a", "red"),
        ("blue~a", "blue"),
        ("a", ""),
    }
    of_red = (await get(of_tenants, "ops", "/v1/jobs?tenant=red")).json["items"]
    assert [job["id"] for job in of_red] == ["red~a"]
    parked = await of_tenants.post("/v1/jobs/red~a/park", {}, headers=bearer("ops"))
    assert (parked.status, parked.json["state"]) == (200, "parked")


async def test_an_operator_of_a_tenant_acts_on_its_jobs_only(
    of_tenants: CheckedApi, job_factory: JobFactory
) -> None:
    for name in ("red~a", "red~b", "blue~a", "a"):
        await job_factory.queued(name)
    assert (await of_tenants.post("/v1/jobs/a/park", {}, headers=bearer("red-ops"))).status == 200
    for filters in ({"all": True}, {"ids": ["b", "blue~a", "a"]}, {"tenant": "blue"}):
        reply = await of_tenants.post(
            "/v1/bulk/cancel", {"filter": filters}, headers=bearer("red-ops")
        )
        assert reply.status == 200
        assert "blue" not in reply.body.decode().replace('"blue~a"', "")
    states = {
        name: stored.job.state.value
        for name in ("red~a", "red~b", "blue~a", "a")
        if (stored := await job_factory.store.jobs.load(name)) is not None
    }
    assert states == {
        "red~a": "cancelled",
        "red~b": "cancelled",
        "blue~a": "queued",
        "a": "queued",
    }


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
async def test_what_concerns_every_tenant_is_closed_to_each(
    of_tenants: CheckedApi, endpoint: Endpoint
) -> None:
    path = re.sub(r"\{\w+\}", "none", endpoint.path)
    method = "HEAD" if endpoint.content_type == "text/event-stream" else endpoint.method
    for token in ("red-ops", "red-own"):
        reply = await of_tenants.call(method, path, headers=bearer(token))
        is_own = endpoint.visibility is Visibility.OWN or endpoint.role is Role.ENQUEUE
        is_open = endpoint.role is None or (
            is_own if token == "red-own" else endpoint.visibility is not Visibility.SYSTEM
        )
        assert (reply.status != 403) is is_open, reply.body


async def test_a_stream_shows_the_events_of_the_tenant(
    of_tenants: CheckedApi, job_factory: JobFactory
) -> None:
    async with streaming(of_tenants.url, bearer("red-own")) as stream:
        await stream.until_begun()
        for name in ("blue~a", "a", "red~b"):
            await job_factory.queued(name)
        event = await stream.next_event()
    assert event is not None
    assert (event.data["id"], event.data["tenant"]) == ("b", "red")


async def test_a_token_of_a_tenant_cannot_log_in(of_tenants: CheckedApi) -> None:
    async with browsing(of_tenants.url) as browser:
        assert (await browser.log_in("red-ops-0123456789abcdef")).status == 403
        assert browser.session == ""


async def test_a_tenant_reads_no_text_about_jobs_of_another_one(
    of_tenants: CheckedApi, store: Store
) -> None:
    """The message of a hold may quote the inputs of the job that placed it."""
    scope = Scope(f"default/{REQUEST['kind']}")
    hold = Hold(
        id=hold_id(scope, "CAPABILITY_DENIED"),
        scope=scope,
        code="CAPABILITY_DENIED",
        created_at=1.0,
        message="denied: a red secret",
    )
    await store.holds.place(hold)
    assert (await enqueue(of_tenants, "blue-app", id="j")).status == 202
    why = await get(of_tenants, "blue-ops", "/v1/jobs/j/why")
    assert why.status == 200
    assert b"CAPABILITY_DENIED" in why.body
    assert b"secret" not in why.body
    assert b"may be about another tenant" in why.body
    operator = await get(of_tenants, "ops", "/v1/jobs/blue~j/why")
    assert b"a red secret" in operator.body


async def test_a_run_without_a_job_is_shown_to_no_tenant_and_attached_by_none(
    of_tenants: CheckedApi, job_factory: JobFactory
) -> None:
    """It may be the run of another tenant's uncertain job, and its result would be shown."""
    for name in ("red~j", "blue~j"):
        await job_factory.uncertain(name)
    await job_factory.orphan_run("ex-7")
    why = await get(of_tenants, "red-ops", "/v1/jobs/j/why")
    assert why.json["evidence"]["executions"] == []
    assert b"ex-7" not in why.body
    run = {"execution_id": "ex-7"}
    refused = await of_tenants.post("/v1/jobs/j/resolve", run, headers=bearer("red-ops"))
    assert refused.status == 403
    assert "may be of another one" in refused.detail
    shown = (await get(of_tenants, "ops", "/v1/jobs/red~j/why")).json["evidence"]["executions"]
    assert [one["execution_id"] for one in shown] == ["ex-7"]
    attached = await of_tenants.post("/v1/jobs/blue~j/resolve", run, headers=bearer("ops"))
    assert (attached.status, attached.json["execution_id"]) == (200, "ex-7")
    discard = {"outcome": "discard"}
    discarded = await of_tenants.post("/v1/jobs/j/resolve", discard, headers=bearer("red-ops"))
    assert discarded.status == 200
