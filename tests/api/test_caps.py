"""Concurrency caps over HTTP: what operators set counts in place of the settings, until removed."""

from collections.abc import AsyncGenerator

import pytest

from config.settings import Settings
from tests.api.checked_api import CheckedApi
from tests.api.conftest import OpenApi, OpenWithTokens
from tests.api.job_factory import JobFactory
from tests.api.token_entries import bearer
from tests.store.redis_contents import latest_audit_entries
from worker.doctor.gates import check_gates
from worker.store import Store

LANE = "default/model/gpt-image-2"
PATH = "/v1/caps/default%2Fmodel%2Fgpt-image-2"


@pytest.fixture
async def capped(open_api: OpenApi, store: Store, settings: Settings) -> AsyncGenerator[CheckedApi]:
    """An API whose settings have caps."""
    changes = {"lane_caps": {"*": 9, LANE: 2}}
    async with open_api(store, settings.model_copy(update=changes)) as api:
        yield api


async def test_a_cap_is_set_shown_and_removed_with_its_audit(
    capped: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1")
    reply = await capped.put(PATH, {"cap": 5, "note": "slow today"})
    assert reply.status == 200, reply.body
    assert (reply.json["cap"], reply.json["default"], reply.json["source"]) == (5, 2, "operator")
    assert (await capped.get(PATH)).json == reply.json
    items = (await capped.get("/v1/caps")).json["items"]
    assert [(one["scope"], one["cap"], one["source"]) for one in items] == [
        ("*", 9, "setting"),
        (LANE, 5, "operator"),
    ]
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"], entry["note"]) == ("set_cap", f"{LANE}: 5", "slow today")
    (lane,) = (await capped.get("/v1/stats")).json["lanes"]
    assert lane["cap"] == 5
    gone = await capped.delete(PATH, {"note": "over"})
    assert (gone.status, gone.json) == (200, {"scope": LANE, "cap": 2})
    assert (await capped.delete(PATH)).status == 404
    assert (await capped.get(PATH)).json["source"] == "setting"
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"]) == ("remove_cap", LANE)


async def test_why_counts_by_the_cap_that_was_set(api: CheckedApi, job_factory: JobFactory) -> None:
    await job_factory.running("first")
    await job_factory.queued("j1")
    kinds = [one["kind"] for one in (await api.get("/v1/jobs/j1/why")).json["blockers"]]
    assert "cap" not in kinds
    await api.put("/v1/caps/*", {"cap": 1})
    blockers = (await api.get("/v1/jobs/j1/why")).json["blockers"]
    (cap,) = [one for one in blockers if one["kind"] == "cap"]
    assert "1 of 1 running" in cap["text"]


@pytest.mark.parametrize("cap", [0, -1, 1_000_001, 1.5, "4", None])
async def test_what_is_no_cap_is_refused(api: CheckedApi, cap: object) -> None:
    reply = await api.put(PATH, {"cap": cap})
    assert (reply.status, reply.field) == (422, "cap")


@pytest.mark.parametrize("scope", ["tag:x", "default%2Fimage", "default%2Fmodel%2Fa%2Fb", "%2A%2A"])
async def test_what_is_no_scope_is_refused(api: CheckedApi, scope: str) -> None:
    reply = await api.put(f"/v1/caps/{scope}", {"cap": 1})
    assert (reply.status, reply.field) == (422, "scope"), reply.body


async def test_caps_are_bounded(api: CheckedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.app.lane_caps.MAX_LANE_CAPS", 1)
    assert (await api.put(PATH, {"cap": 1})).status == 200
    assert (await api.put(PATH, {"cap": 2})).status == 200
    assert (await api.put("/v1/caps/default", {"cap": 1})).field == "scope"


async def test_operators_of_no_tenant_set_them_and_notes_need_read(
    open_with_tokens: OpenWithTokens,
) -> None:
    tokens: list[dict[str, object]] = [
        {"name": "watcher", "role": "watch"},
        {"name": "reader", "role": "read"},
        {"name": "red-ops", "role": "operate", "tenant": "red"},
    ]
    body = b'{"cap": 3, "note": "a secret"}'
    async with open_with_tokens(tokens) as api:

        async def put(name: str) -> int:
            headers = {"Content-Type": "application/json", **bearer(name)}
            return (await api.call("PUT", PATH, body=body, headers=headers)).status

        assert [await put(name) for name in ("watcher", "reader", "red-ops", "ops")] == [
            403,
            403,
            403,
            200,
        ]
        for name, status, shown in (("watcher", 200, False), ("reader", 200, True)):
            reply = await api.call("GET", "/v1/caps", headers=bearer(name))
            assert reply.status == status
            assert (b"a secret" in reply.body) is shown
        assert (await api.call("GET", "/v1/caps", headers=bearer("red-ops"))).status == 403


async def test_one_that_cannot_be_read_lets_the_settings_apply_and_doctor_names_it(
    capped: CheckedApi, store: Store
) -> None:
    await store.client.call("HSET", store.keys.lane_caps, LANE, b"{damaged")
    assert (await store.holds.gates()).caps == {}
    assert (await capped.get(PATH)).json["cap"] == 2
    (finding,) = await check_gates(store)
    assert LANE in finding.text
    assert (await capped.delete(PATH)).status == 200
    assert not await check_gates(store)


async def test_one_of_a_newer_version_counts_and_is_left_as_it_is(
    api: CheckedApi, store: Store
) -> None:
    newer = b'{"schema":2,"scope":"default","cap":7,"shape":"new"}'
    await store.client.call("HSET", store.keys.lane_caps, "default", newer)
    assert (await store.holds.gates()).caps == {"default": 7}
    assert (await api.get("/v1/caps/default")).json["cap"] == 7
    assert (await api.put("/v1/caps/default", {"cap": 1})).status == 409
    assert await store.client.call("HGET", store.keys.lane_caps, "default") == newer
