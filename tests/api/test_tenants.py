"""Tenants: the same id in two of them is two jobs, and neither sees or changes the other's."""

import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.settings import Settings
from config.values import ApiToken, Role
from jobs.holds import Hold, hold_id
from jobs.lanes import Scope
from jobs.tenants import app_job_id, tenant_job_id, tenant_of
from tests.api.checked_api import REQUEST, ApiReply, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.cookie_browser import browsing
from tests.api.event_stream_client import streaming
from tests.api.job_factory import JobFactory
from worker.api.auth.principal import Visibility
from worker.api.endpoints import Endpoint
from worker.compose.api import ENDPOINTS
from worker.store import Store

TOKENS: dict[str, tuple[str, str, bool]] = {
    "red-app": ("enqueue", "red", False),
    "red-own": ("enqueue", "red", True),
    "red-new-name": ("enqueue", "red", False),
    "red-ops": ("operate", "red", False),
    "blue-app": ("enqueue", "blue", False),
    "blue-own": ("enqueue", "blue", True),
    "blue-ops": ("operate", "blue", False),
}
ENVIRONMENT = ("app", "enqueue"), ("other-app", "enqueue"), ("ops", "operate")


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-0123456789abcdef"}


@pytest.fixture
async def guarded(
    store: Store, namespace: str, open_api: OpenApi, tmp_path: Path
) -> AsyncGenerator[CheckedApi]:
    path = tmp_path / "tokens.json"
    entries = [
        {"name": name, "role": role, "tenant": tenant, "own": own}
        | {"secret": f"{name}-0123456789abcdef"}
        for name, (role, tenant, own) in TOKENS.items()
    ]
    path.write_text(json.dumps(entries))
    environment = tuple(
        ApiToken(name, Role(role), SecretStr(f"{name}-0123456789abcdef"))
        for name, role in ENVIRONMENT
    )
    settings = Settings(
        namespace=namespace, http_port=0, api_tokens=environment, api_tokens_file=path
    )
    async with open_api(store, settings) as api:
        yield api


async def enqueue(api: CheckedApi, token: str, **facts: object) -> ApiReply:
    return await api.post("/v1/jobs", REQUEST | facts, headers=bearer(token))


async def get(api: CheckedApi, token: str, path: str) -> ApiReply:
    return await api.call("GET", path, headers=bearer(token))


def test_an_id_names_its_tenant() -> None:
    for tenant in ("", "red"):
        stored = tenant_job_id(tenant, "order-1")
        assert (tenant_of(stored), app_job_id(stored)) == (tenant, "order-1")
    assert tenant_job_id("red", "order-1") != tenant_job_id("blue", "order-1")


async def test_an_id_is_of_its_tenant(guarded: CheckedApi, store: Store) -> None:
    for token in ("red-app", "blue-app", "app"):
        reply = await enqueue(guarded, token, id="order-1", tags=[token])
        assert (reply.status, reply.json["id"]) == (202, "order-1")
        assert reply.headers["Location"] == "/v1/jobs/order-1"
    assert (await enqueue(guarded, "red-new-name", id="order-1", tags=["red-app"])).status == 200
    assert (await enqueue(guarded, "red-app", id="order-1", tags=["new"])).status == 409
    for token, tag in (("red-own", "red-app"), ("blue-own", "blue-app")):
        job = (await get(guarded, token, "/v1/jobs/order-1")).json
        assert (job["id"], job["tags"], job["inputs"]) == ("order-1", [tag], REQUEST["inputs"])
    assert await store.jobs.load("red~order-1") is not None


async def test_a_made_id_is_of_the_tenant_too(guarded: CheckedApi) -> None:
    name = (await enqueue(guarded, "red-app")).json["id"]
    assert (await get(guarded, "red-own", f"/v1/jobs/{name}")).status == 200
    assert (await get(guarded, "blue-own", f"/v1/jobs/{name}")).status == 404
    body = {"jobs": [REQUEST | {"id": "b-1"}, REQUEST]}
    bulk = await guarded.post("/v1/jobs/bulk", body, headers=bearer("red-app"))
    for row in bulk.json["results"]:
        assert (await get(guarded, "red-own", f"/v1/jobs/{row['id']}")).status == 200


async def test_the_same_request_tells_an_enqueue_token_nothing_that_others_wrote(
    guarded: CheckedApi,
) -> None:
    """A provider may quote the inputs in its messages, and an operator writes notes."""
    assert (await enqueue(guarded, "app", id="order-1")).status == 202
    note = {"note": "a customer of ours"}
    parked = await guarded.post("/v1/jobs/order-1/park", note, headers=bearer("ops"))
    assert parked.status == 200
    again = await enqueue(guarded, "other-app", id="order-1")
    assert again.status == 200
    assert set(again.json) == {"id", "state", "created_at"}
    assert again.json["state"] == "parked"
    assert set((await enqueue(guarded, "ops", id="order-1")).json) > {"events", "reason"}


async def test_an_own_token_reads_and_awaits_its_jobs_and_nothing_else(
    guarded: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.succeeded("red~done", b'{"images":[]}')
    await job_factory.succeeded("blue~theirs", b'{"images":[]}')
    await job_factory.succeeded("nobodys", b'{"images":[]}')
    done = (await get(guarded, "red-own", "/v1/jobs/done/wait?timeout_s=0")).json
    assert (done["id"], done["tenant"], done["result"]) == ("done", "red", {"images": []})
    listed = (await get(guarded, "red-own", "/v1/jobs?tenant=blue")).json
    assert [job["id"] for job in listed["items"]] == ["done"]
    for path in ("theirs", "blue~theirs", "red~done", "nobodys"):
        for suffix in ("", "/wait?timeout_s=0"):
            reply = await get(guarded, "red-own", f"/v1/jobs/{path}{suffix}")
            assert reply.status == 404, path
    for path in ("/v1/stats", "/v1/holds", "/v1/jobs/done/why", "/v1/audit", "/metrics"):
        assert (await get(guarded, "red-own", path)).status == 403, path
    assert (await get(guarded, "red-app", "/v1/jobs/done")).status == 403


async def test_operators_of_no_tenant_see_every_job_with_its_tenant(
    guarded: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued("red~a")
    await job_factory.queued("blue~a")
    await job_factory.queued("a")
    items = (await get(guarded, "ops", "/v1/jobs")).json["items"]
    assert {(job["id"], job["tenant"]) for job in items} == {
        ("red~a", "red"),
        ("blue~a", "blue"),
        ("a", ""),
    }
    of_red = (await get(guarded, "ops", "/v1/jobs?tenant=red")).json["items"]
    assert [job["id"] for job in of_red] == ["red~a"]
    parked = await guarded.post("/v1/jobs/red~a/park", {}, headers=bearer("ops"))
    assert (parked.status, parked.json["state"]) == (200, "parked")


async def test_an_operator_of_a_tenant_acts_on_its_jobs_only(
    guarded: CheckedApi, job_factory: JobFactory
) -> None:
    for name in ("red~a", "red~b", "blue~a", "a"):
        await job_factory.queued(name)
    assert (await guarded.post("/v1/jobs/a/park", {}, headers=bearer("red-ops"))).status == 200
    for filters in ({"all": True}, {"ids": ["b", "blue~a", "a"]}, {"tenant": "blue"}):
        reply = await guarded.post(
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
    guarded: CheckedApi, endpoint: Endpoint
) -> None:
    path = re.sub(r"\{\w+\}", "none", endpoint.path)
    method = "HEAD" if endpoint.content_type == "text/event-stream" else endpoint.method
    for token in ("red-ops", "red-own"):
        reply = await guarded.call(method, path, headers=bearer(token))
        is_own = endpoint.visibility is Visibility.OWN or endpoint.role is Role.ENQUEUE
        is_open = endpoint.role is None or (
            is_own if token == "red-own" else endpoint.visibility is not Visibility.SYSTEM
        )
        assert (reply.status != 403) is is_open, reply.body


async def test_a_stream_shows_the_events_of_the_tenant(
    guarded: CheckedApi, job_factory: JobFactory
) -> None:
    async with streaming(guarded.url, bearer("red-own")) as stream:
        await stream.until_begun()
        for name in ("blue~a", "a", "red~b"):
            await job_factory.queued(name)
        event = await stream.next_event()
    assert event is not None
    assert (event.data["id"], event.data["tenant"]) == ("b", "red")


async def test_a_token_of_a_tenant_cannot_log_in(guarded: CheckedApi) -> None:
    async with browsing(guarded.url) as browser:
        assert (await browser.log_in("red-ops-0123456789abcdef")).status == 403
        assert browser.session == ""


async def test_a_tenant_reads_no_text_about_jobs_of_another_one(
    guarded: CheckedApi, store: Store
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
    assert (await enqueue(guarded, "blue-app", id="j")).status == 202
    why = await get(guarded, "blue-ops", "/v1/jobs/j/why")
    assert why.status == 200
    assert b"CAPABILITY_DENIED" in why.body
    assert b"secret" not in why.body
    assert b"may be about another tenant" in why.body
    operator = await get(guarded, "ops", "/v1/jobs/blue~j/why")
    assert b"a red secret" in operator.body
