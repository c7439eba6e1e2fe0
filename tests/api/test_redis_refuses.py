"""Every route while Redis refuses, in each way: 503 with the reason, never 500.

And a change that is written is answered as such, whatever Redis refuses after it.
"""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from config.settings import Settings
from jobs.lanes import Scope
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.job_factory import JobFactory
from tests.refusing_redis import REFUSALS, USER, RefusingRedis, refused
from tests.refusing_redis import server as server  # noqa: PLC0414
from worker.api.handlers import events as stream
from worker.app.actions import Actions, Actor
from worker.app.extras import extra_or
from worker.clock import SystemClock
from worker.compose.api import ENDPOINTS
from worker.redis.connect import connect
from worker.store import Store, open_store

BODIES: dict[str, Any] = {
    "/v1/jobs": REQUEST,
    "/v1/jobs/bulk": {"jobs": [REQUEST, {**REQUEST, "id": "b2"}, {"kind": "no"}]},
    "/v1/jobs/{id}/resolve": {"outcome": "resubmit"},
    "/v1/holds": {"scope": "default/model"},
    "/v1/caps/{scope}": {"cap": 3},
    "/v1/budgets/{name}": {"scope": "default", "period": "day", "limit": 9},
    "/v1/bulk/release": {"filter": {"all": True}},
    "/v1/bulk/requeue": {"filter": {"all": True}},
    "/v1/bulk/resubmit": {"filter": {"all": True}},
    "/v1/bulk/discard": {"filter": {"all": True}},
    "/v1/bulk/cancel": {"filter": {"all": True}},
}
"""The bodies that routes need, by path."""


@pytest.fixture
async def store(server: RefusingRedis, namespace: str) -> AsyncGenerator[Store]:
    """The store of the API, under the user that is refused."""
    client = connect(Settings(namespace=namespace), server.url, fail_fast=True)
    yield open_store(client, namespace)
    await client.aclose(close_connection_pool=True)


@pytest.fixture
def job_factory(store: Store) -> JobFactory:
    return JobFactory(store, SystemClock())


@pytest.mark.parametrize("name", [*REFUSALS, "busy"])
async def test_a_refusal_is_503_with_its_reason_on_every_route(  # noqa: PLR0917
    server: RefusingRedis,
    redis_url: str,
    api: CheckedApi,
    job_factory: JobFactory,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(stream, "MAX_STREAM_S", 0.02)
    for state in ("queued", "uncertain", "dead"):
        await getattr(job_factory, state)(state)
    actions = Actions(job_factory.store, job_factory.clock)
    hold = await actions.place_hold(Scope("studio"), Actor("ann"))
    async with refused(server, name, redis_url) as code:
        refused_routes = 0
        for route in ENDPOINTS:
            given = hold.id if "holds" in route.path else "dead"
            path = route.path.replace("{id}", given).replace("{account}", "default")
            path = path.replace("{name}", "daily").replace("{scope}", "default")
            if route.path.endswith("/wait"):
                path += "?timeout_s=0"
            reply = await call(api, route.method, path, BODIES.get(route.path))
            assert reply.status != 500, (route.method, path, reply.body)
            if reply.status == 503:
                refused_routes += 1
                assert int(reply.headers["Retry-After"]) > 0
                if path != "/readyz":
                    reason = reply.json["reason"]
                    # 6.2 refuses a script with the code and a plain write so; 7 both so.
                    assert reason == code or (name, reason) == ("masterdown", "READONLY")
                    assert f"({reason})" in reply.detail
        assert refused_routes > 5
        (one,) = {await status_of_enqueue(api)}
        assert one == 503
        bulk = await api.post("/v1/jobs/bulk", BODIES["/v1/jobs/bulk"])
        rows = bulk.json["results"]
        assert [row["status"] for row in rows] == [503, 503, 422]
        expected = {code, "READONLY"} if name == "masterdown" else {code}
        assert {row["error"]["reason"] for row in rows[:2]} <= expected
    assert await status_of_enqueue(api) == 202


async def call(api: CheckedApi, method: str, path: str, body: object) -> Any:
    if method == "POST":
        return await api.post(path, body)
    return await api.put(path, body) if method == "PUT" else await api.call(method, path)


async def status_of_enqueue(api: CheckedApi) -> int:
    reply = await api.post("/v1/jobs", REQUEST)
    return int(reply.status)


async def test_refused_rows_of_a_bulk_are_logged_once(
    server: RefusingRedis, redis_url: str, api: CheckedApi
) -> None:
    async with refused(server, "oom", redis_url):
        with capture_logs() as logs:
            await api.post("/v1/jobs/bulk", {"jobs": [REQUEST] * 20})
    (line,) = [line for line in logs if line["event"] == "request.refused"]
    assert (line["error"], line["jobs"]) == ("OOM", 20)


# After the commit.


async def test_a_user_without_channels_enqueues_and_acts(
    server: RefusingRedis, api: CheckedApi, job_factory: JobFactory
) -> None:
    """A refused wake-up fails no change; one line says so, and a counter how many."""
    await job_factory.dead("dead")
    await server.run(("ACL SETUSER", USER, "resetchannels"))
    with capture_logs() as logs:
        for _ in range(5):
            assert await status_of_enqueue(api) == 202
        bulk = await api.post("/v1/jobs/bulk", {"jobs": [REQUEST] * 3})
        assert {row["status"] for row in bulk.json["results"]} == {202}
        assert (await api.post("/v1/jobs/dead/requeue")).status == 200
        hold = await api.post("/v1/holds", {"scope": "studio"})
        assert hold.status == 201
        assert (await api.post(f"/v1/holds/{hold.json['id']}/release")).status == 200
    lines = [line for line in logs if line["event"] == "wakeups.refused"]
    assert [line["error"] for line in lines] == ["NOPERM"]
    drained = job_factory.store.metrics.buffer.drain().totals
    assert drained["wakeups_refused|NOPERM"] >= 7


async def test_a_read_that_only_decorates_fails_no_change(
    api: CheckedApi, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is read after the commit may fail, and the answer is that of the change."""
    await job_factory.dead("dead")
    store = job_factory.store

    async def lost(*_: object) -> Any:
        raise RedisConnectionError("max number of clients reached")

    monkeypatch.setattr(type(store.holds), "gates", lost)
    monkeypatch.setattr(type(store.payloads), "read", lost)
    monkeypatch.setattr(type(store.read.queries), "held_counts", lost)
    monkeypatch.setattr(type(store.durations), "samples", lost, raising=False)
    enqueued = await api.post("/v1/jobs", REQUEST)
    assert enqueued.status == 202
    requeued = await api.post("/v1/jobs/dead/requeue")
    assert (requeued.status, requeued.json["state"]) == (200, "queued")
    assert requeued.json["payloads_hidden"], "no inputs were lost: they could not be read"
    hold = await api.post("/v1/holds", {"scope": "studio"})
    assert (hold.status, hold.json["jobs"]) == (201, None)
    assert (await api.post(f"/v1/holds/{hold.json['id']}/release")).status == 200


async def test_an_audit_entry_that_is_refused_is_written_later(
    api: CheckedApi, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = job_factory.store.audit
    append = type(audit).append

    async def lost(*_: object) -> None:
        raise RedisConnectionError("max number of clients reached")

    monkeypatch.setattr(type(audit), "append", lost)
    with capture_logs() as logs:
        assert (await api.post("/v1/holds", {"scope": "studio", "note": "why"})).status == 201
    (logged,) = [line for line in logs if line["event"] == "audit_entry.delayed"]
    entry = {name: logged[name] for name in ("action", "on", "note", "jobs")}
    assert entry == {"action": "hold", "on": "studio", "note": "why", "jobs": 0}
    assert logged["by"], "if the process is killed now, the log alone has the entry"
    assert logged["at"] > 0
    monkeypatch.setattr(type(audit), "append", append)
    await audit.write_pending()
    found = (await api.get("/v1/audit")).json["items"]
    assert [(entry["act"], entry["note"]) for entry in found] == [("hold", "why")]


async def test_a_bug_in_an_extra_is_not_hidden() -> None:
    async def broken() -> int:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        await extra_or(None, broken())
