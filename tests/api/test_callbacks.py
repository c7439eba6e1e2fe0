"""Callbacks over HTTP: enqueue with one, see what became of it, send it again."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from config.callback_hosts import CallbackHosts
from config.settings import Settings
from jobs.callback_breaker import CallbackBreaker
from jobs.callbacks import CallbackFailure, CallbackState, after_failure
from jobs.job import Job
from jobs.states import State
from tests.api.checked_api import REQUEST, ApiReply, CheckedApi
from tests.api.conftest import OpenApi, OpenWithTokens
from tests.api.job_factory import JobFactory
from tests.api.token_entries import bearer
from tests.engine.callback_receiver import SECRET
from tests.store.redis_contents import latest_audit_entries
from worker.app.callback_bodies import CallbackJob
from worker.clock import SystemClock
from worker.engine.services.batch_keeper import BatchKeeper
from worker.store import Store

URL = "https://hooks.example.com/k?token=1"
HOST = "https://hooks.example.com:443"


@pytest.fixture
async def calling(
    open_api: OpenApi, store: Store, settings: Settings
) -> AsyncGenerator[CheckedApi]:
    changes: dict[str, Any] = {
        "callback_hosts": CallbackHosts(("hooks.example.com",)),
        "callback_secret": SecretStr(SECRET),
    }
    async with open_api(store, settings.model_copy(update=changes)) as api:
        yield api


async def ask(api: CheckedApi, **facts: object) -> ApiReply:
    return await api.post("/v1/jobs", REQUEST | facts)


async def dead(job_factory: JobFactory, job_id: str = "j1") -> Job:
    await job_factory.queued(job_id, callback_url=URL)
    return await job_factory.transition(
        job_id, lambda job: msgspec.structs.replace(job, state=State.DEAD)
    )


async def fail(store: Store, callback_id: str) -> None:
    stored = await store.callbacks.find(callback_id)
    assert stored is not None
    gone = CallbackFailure("answered 410 Gone", 410, is_final=True)
    now = SystemClock().now()
    assert await store.callbacks.amend(stored, after_failure(stored.callback, now, 0.5, gone))


async def test_a_job_names_its_callback(calling: CheckedApi) -> None:
    reply = await calling.enqueue(id="j1", callback_url=URL)
    assert reply.json["callback_url"] == URL
    assert (await calling.enqueue(id="j1", callback_url=URL)).status == 200
    assert (await ask(calling, id="j1")).status == 409


async def test_a_host_that_is_not_listed_is_refused(calling: CheckedApi) -> None:
    for url in ("https://other.example.com/", "http://169.254.169.254/", "https://127.0.0.1/"):
        reply = await ask(calling, callback_url=url)
        assert (reply.status, reply.field) == (422, "callback_url")
        assert "KNOUDS_CALLBACK_HOSTS does not list" in reply.detail
        dry_run = await calling.post("/v1/jobs/dry-run", REQUEST | {"callback_url": url})
        assert (dry_run.status, dry_run.field) == (422, "callback_url")
    entry = REQUEST | {"callback_url": "https://x/"}
    bulk = await calling.post("/v1/jobs/bulk", {"jobs": [entry]})
    assert bulk.json["results"][0]["error"]["field"] == "callback_url"


async def test_without_the_setting_callbacks_are_refused_by_its_name(api: CheckedApi) -> None:
    reply = await ask(api, callback_url=URL)
    assert reply.status == 422
    assert "KNOUDS_CALLBACK_HOSTS" in reply.detail


async def test_callbacks_are_listed_shown_and_sent_again(
    calling: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await dead(job_factory, "j1")
    await dead(job_factory, "j2")
    (found,) = (await calling.get("/v1/callbacks?job=j1")).json["items"]
    assert (found["type"], found["job"], found["state"]) == ("job.dead", "j1", "pending")
    assert (found["url"], found["host"], found["tries"]) == (URL, HOST, 0)
    await fail(store, found["id"])
    shown = (await calling.get(f"/v1/callbacks/{found['id']}")).json
    assert (shown["state"], shown["status"], shown["error"]) == ("failed", 410, "answered 410 Gone")
    assert shown["next_try_at"] is None
    failed = (await calling.get("/v1/callbacks?state=failed&host=hooks.example.com")).json["items"]
    assert [one["job"] for one in failed] == ["j1"]

    again = await calling.post(f"/v1/callbacks/{found['id']}/resend", {"note": "it is back"})
    assert (again.status, again.json["state"], again.json["id"]) == (200, "pending", found["id"])
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"], entry["note"]) == (
        "resend_callback",
        found["id"],
        "it is back",
    )
    due, _ = await store.callbacks.due_hosts(SystemClock().now() + 1, 5)
    assert due == [HOST]


async def test_what_is_not_there_is_404(calling: CheckedApi) -> None:
    assert (await calling.get("/v1/callbacks/msg_1")).status == 404
    assert (await calling.post("/v1/callbacks/msg_1/resend", {})).status == 404
    assert (await calling.get("/v1/callbacks?state=lost")).status == 400
    assert (await calling.get("/v1/callbacks?cursor=x")).status == 400


async def test_hosts_that_are_down_are_named(calling: CheckedApi, store: Store) -> None:
    breaker = CallbackBreaker(until=2e9, failures=7, since=1.9e9, error="cannot connect")
    await store.callbacks.set_breaker(HOST, b"", breaker)
    (host,) = (await calling.get("/v1/callbacks")).json["hosts_down"]
    assert (host["host"], host["failures"], host["error"]) == (HOST, 7, "cannot connect")


async def test_a_tenant_sees_its_own_callbacks_alone(
    of_tenants: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await dead(job_factory, "red~j1")
    await dead(job_factory, "blue~j1")
    await store.callbacks.set_breaker(HOST, b"", CallbackBreaker(until=2e9, failures=7, since=1e9))

    async def get(token: str, path: str) -> Any:
        return await of_tenants.call("GET", path, headers=bearer(token))

    ids: dict[str, str] = {}
    for tenant in ("red", "blue"):
        reply = (await get(f"{tenant}-own", "/v1/callbacks")).json
        (item,) = reply["items"]
        assert (item["job"], item["url"]) == ("j1", URL)
        assert reply["hosts_down"] == []
        assert (await get(f"{tenant}-own", "/v1/callbacks?job=j1")).json["items"] == [item]
        ids[tenant] = item["id"]
    assert (await get("red-own", f"/v1/callbacks/{ids['blue']}")).status == 404
    assert (await get("red-own", f"/v1/callbacks/{ids['red']}")).status == 200
    resend = f"/v1/callbacks/{ids['blue']}/resend"
    refused = await of_tenants.post(resend, {}, headers=bearer("red-ops"))
    assert refused.status == 404
    assert (await get("red-app", "/v1/callbacks")).status == 403


async def test_a_url_may_hold_a_secret_so_watchers_do_not_see_it(
    open_with_tokens: OpenWithTokens, job_factory: JobFactory
) -> None:
    await dead(job_factory, "j1")
    async with open_with_tokens([{"name": "eyes", "role": "watch"}]) as api:
        for path in ("/v1/callbacks", "/v1/jobs/j1", "/v1/jobs"):
            reply = await api.call("GET", path, headers=bearer("eyes"))
            assert reply.status == 200
            assert b"token=1" not in reply.body


async def test_jobs_with_callbacks_are_refused_while_the_outbox_is_full(
    calling: CheckedApi, store: Store
) -> None:
    await store.client.call("HSET", store.keys.callback_use, "bytes", 1 << 40)
    reply = await ask(calling, callback_url=URL)
    assert reply.status == 429
    assert "KNOUDS_CALLBACK_OUTBOX_BYTES" in reply.detail
    assert int(reply.headers["Retry-After"]) > 0
    assert (await calling.enqueue()).status == 202, "others are taken"


async def test_metrics_show_callbacks(calling: CheckedApi, job_factory: JobFactory) -> None:
    await dead(job_factory)
    text = (await calling.get("/metrics")).body.decode()
    assert 'knouds_callbacks_kept{state="pending"} 1.0' in text
    assert 'knouds_callbacks_total{result="lost"} 0.0' in text
    assert "knouds_callback_hosts_down 0.0" in text


async def test_erasure_reaches_the_texts_in_callbacks(
    calling: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.dead("j1", callback_url=URL)
    (found,) = (await calling.get("/v1/callbacks?job=j1")).json["items"]
    stored = await store.callbacks.find(found["id"])
    assert stored is not None
    assert b"prompt is missing" in stored.data
    headers = {"Content-Type": "application/json"}
    path = "/v1/jobs/j1/payloads"
    erased = await calling.call("DELETE", path, body=b'{"force": true}', headers=headers)
    assert erased.status == 200
    left = await store.callbacks.find(found["id"])
    assert left is not None
    assert b"prompt is missing" not in left.data
    assert left.callback.state is CallbackState.PENDING


async def test_the_job_of_a_callback_has_the_members_of_a_job(calling: CheckedApi) -> None:
    job = (await calling.enqueue(callback_url=URL)).json
    answer_only = {"durability", "est_cost", "warnings"}
    assert [name for name in job if name not in answer_only] == list(CallbackJob.__struct_fields__)


async def test_a_batch_names_who_hears_of_it(calling: CheckedApi, store: Store) -> None:
    reply = await calling.post(
        "/v1/batches", {"name": "b", "callback_url": "https://evil.example/"}
    )
    assert (reply.status, reply.field) == (422, "callback_url")
    body = {"name": "b", "callback_url": URL}
    assert (await calling.post("/v1/batches", body)).json["callback_url"] == URL
    assert (await calling.post("/v1/batches", body)).status == 200
    assert (await calling.post("/v1/batches", {"name": "b"})).status == 409
    await calling.post("/v1/batches/b/seal", {})
    await BatchKeeper(store, "w").tick(SystemClock().now())
    (item,) = (await calling.get("/v1/callbacks?batch=b")).json["items"]
    assert (item["type"], item["job"], item["batch"]) == ("batch.completed", None, "b")
    assert (await calling.get("/v1/callbacks?job=b")).json["items"] == []
    both = await calling.get("/v1/callbacks?batch=b&job=j")
    assert (both.status, both.field) == (400, "batch")
