"""Why a job waits for a budget: `GET /v1/jobs/{id}/why`, and what the job itself shows."""

from typing import Any

import pytest

from jobs import transitions
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from tests.api.test_budgets import put, use
from tests.api.token_entries import bearer
from tests.store.test_cost_store import count_commands
from worker.app.budget_waits import HIDDEN
from worker.store import Store

LANE = "model/gpt-image-2"


async def budget_blockers(api: CheckedApi, job_id: str = "a") -> list[Any]:
    found = (await api.get(f"/v1/jobs/{job_id}/why")).json["blockers"]
    return [one for one in found if one["kind"] == "budget"]


async def until_of(api: CheckedApi) -> str:
    return str((await api.get("/v1/budgets/b")).json["resets_at"])


async def test_a_closed_budget_is_named_with_what_is_used_and_when_it_reopens(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("a")
    await put(api, limit=1_000)
    await use(store, spent=600, reserved=400.5)
    (found,) = await budget_blockers(api)
    assert found["text"] == (
        "budget b on default has nothing left: 600 spent and 400.5 reserved of 1,000 credits a day,"
        " set by local"
    )
    assert found["action"] == "Wait for the next day, or raise the limit"
    assert found["until"] == await until_of(api)


async def test_less_left_than_a_run_costs_is_said_with_both(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.ran(LANE, cost=8.0)
    await job_factory.queued("a")
    await put(api, period="total", limit=10)
    await use(store, spent=5)
    (found,) = await budget_blockers(api)
    assert found["text"] == (
        "a run is expected to cost 8 credits, and budget b on default has 5 left:"
        " 5 spent and 0 reserved of 10 credits in total, set by local"
    )
    assert (found["action"], found["until"]) == ("Raise the limit, or remove the budget", None)
    await use(store, spent=2)
    assert await budget_blockers(api) == []
    await put(api, period="total", limit=7)
    (found,) = await budget_blockers(api)
    assert "more than the whole limit of budget b on default" in found["text"]
    assert found["action"] == "Raise the limit of the budget, or cancel the job"


async def test_of_several_budgets_one_without_room_is_named(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("a", tags=("x",), batch="spring")
    for name, scope in (("wide", "default"), ("tag", "tag:x"), ("batch", "batch:spring")):
        await put(api, name, scope=scope)
        await use(store, name, spent=50)
    assert await budget_blockers(api) == []
    await use(store, "batch", spent=100)
    (found,) = await budget_blockers(api)
    assert found["text"].startswith("budget batch on batch:spring has nothing left")


async def test_one_that_is_counting_or_unreadable_says_so(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("a")
    await put(api)
    (found,) = await budget_blockers(api)
    assert found["text"] == "budget b was set by local: what is in flight is counted first"
    assert found["action"].startswith("Nothing")
    await store.client.call("HSET", store.keys.budgets, "b", b"7 {")
    (found,) = await budget_blockers(api)
    assert found["text"].startswith("budget b cannot be read: ")
    assert found["action"] == "Set it anew, or remove it"


async def test_runs_of_unknown_cost_go_one_at_a_time_and_why_says_so(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await put(api)
    await use(store, spent=1)
    await job_factory.queued("a")
    assert await budget_blockers(api) == []
    await job_factory.submitting("b")
    (found,) = await budget_blockers(api)
    assert "one at a time" in found["text"]


async def test_a_job_that_waits_for_a_tag_shows_the_budget_and_its_place(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await put(api, scope="tag:x")
    for name in ("first", "a"):
        await job_factory.queued(name, tags=("x",))
        await job_factory.transition(name, lambda job: transitions.wait_for_budget(job, "b"))
    await use(store, spent=100)
    room, place = await budget_blockers(api)
    assert room["text"].startswith("budget b on tag:x has nothing left")
    assert place["text"] == "1 job before it among those that wait for budget b"
    assert (await api.job("a"))["waits_for_budget"] == "b"
    await api.delete("/v1/budgets/b")
    (place,) = await budget_blockers(api)
    assert place["text"].endswith("which has room: they return to their lanes within seconds")
    await job_factory.transition("a", lambda job: transitions.wait_for_budget(job, None))
    assert (await api.job("a"))["waits_for_budget"] is None


async def test_a_job_that_is_not_queued_waits_for_no_budget(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await put(api)
    await job_factory.running("a")
    assert await budget_blockers(api) == []


async def test_who_may_not_see_credits_is_shown_no_amount_and_no_name(
    of_tenants: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    secret = "the-secret-budget"
    headers = bearer("ops") | {"Content-Type": "application/json"}
    text = b'{"scope":"tag:x","period":"day","limit":12345}'
    path = f"/v1/budgets/{secret}"
    assert (await of_tenants.call("PUT", path, headers=headers, body=text)).status == 200
    await use(store, secret, spent=12_345)
    await job_factory.queued("red~a", tags=("x",))
    await job_factory.transition("red~a", lambda job: transitions.wait_for_budget(job, secret))
    why = await of_tenants.call("GET", "/v1/jobs/a/why", headers=bearer("red-ops"))
    (found,) = [one for one in why.json["blockers"] if one["kind"] == "budget"]
    assert (found["text"], found["action"]) == (HIDDEN, "")
    job = await of_tenants.call("GET", "/v1/jobs/a", headers=bearer("red-ops"))
    for reply in (why, job):
        assert reply.status == 200
        assert secret.encode() not in reply.body
        assert b"12345" not in reply.body
    full = await of_tenants.call("GET", "/v1/jobs/red~a/why", headers=bearer("ops"))
    assert secret.encode() in full.body


async def test_without_budgets_why_asks_redis_one_thing_more(
    api: CheckedApi, store: Store, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job_factory.queued("a")
    asked = count_commands(store, monkeypatch)
    assert (await api.get("/v1/jobs/a/why")).status == 200
    ours = [one for one in asked if store.keys.budgets in str(one) or ":budget" in str(one)]
    assert ours == [("HGETALL", store.keys.budgets)]
    asked.clear()
    assert (await api.get("/v1/jobs/a")).status == 200
    assert asked
    assert not [one for one in asked if ":budget" in str(one)]
