"""`/v1/budgets`: set, see and remove limits in credits, and what is wrong with a request."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from jobs import transitions
from jobs.budgets.record import Budget
from jobs.budgets.use import BudgetPart
from jobs.credits.charges import MICRO
from jobs.indexes import Index
from tests.api.checked_api import ApiReply, CheckedApi
from tests.api.job_factory import JobFactory
from tests.api.token_entries import bearer
from worker.app import budgets as budgets_module
from worker.clock import SystemClock
from worker.store import Store

BERLIN = ZoneInfo("Europe/Berlin")
DAY = {"scope": "default", "period": "day", "limit": 100}


async def put(api: CheckedApi, name: str = "b", **changes: object) -> ApiReply:
    return await api.put(f"/v1/budgets/{name}", DAY | changes)


async def shown(api: CheckedApi, name: str = "b") -> Any:
    reply = await api.get(f"/v1/budgets/{name}")
    assert reply.status == 200, reply.body
    return reply.json


async def end_counting(store: Store, name: str = "b") -> None:
    """What was in flight when the budget was set is counted."""

    def counted(found: Budget | None) -> Budget | None:
        return found and msgspec.structs.replace(found, is_counting=False)

    await store.budgets.change(name, counted)


async def use(store: Store, name: str = "b", *, spent: float = 0, reserved: float = 0) -> None:
    """Let so many credits of the present period be spent and reserved; it counts no more."""
    await end_counting(store, name)
    statuses = await store.budgets.statuses(SystemClock().now())
    (status,) = [one for one in statuses if one.budget.name == name]
    key = store.keys.budget_use(name, status.budget.generation, status.window.key)
    for part, amount in ((BudgetPart.SPENT, spent), (BudgetPart.RESERVED, reserved)):
        await store.client.call("HSET", key, part, int(amount * MICRO))


async def test_a_budget_is_set_shown_listed_and_removed(api: CheckedApi) -> None:
    reply = await put(api, "spring-1", scope="tag:spring", note="agreed with sales")
    assert reply.status == 200
    assert reply.json == await shown(api, "spring-1")
    found = reply.json
    assert (found["name"], found["scope"], found["period"]) == ("spring-1", "tag:spring", "day")
    assert (found["limit"], found["spent"], found["reserved"], found["left"]) == (100, 0, 0, 100)
    assert (found["exceeded_by"], found["waiting"], found["state"]) == (0, 0, "counting")
    assert (found["set_by"], found["note"]) == ("local", "agreed with sales")
    assert (found["time_zone"], found["error"]) == ("UTC", "")
    await put(api, "a")
    page = (await api.get("/v1/budgets")).json
    assert [one["name"] for one in page["items"]] == ["a", "spring-1"]
    assert page["next_cursor"] is None
    removed = await api.delete("/v1/budgets/spring-1", {"note": "spring is over"})
    assert (removed.status, removed.json["scope"]) == (200, "tag:spring")
    for reply in (await api.get("/v1/budgets/spring-1"), await api.delete("/v1/budgets/spring-1")):
        assert (reply.status, reply.json["type"]) == (
            404,
            "urn:knouds-worker:problem:no-such-budget",
        )
    audit = [
        (one["act"], one["on"], one["note"]) for one in (await api.get("/v1/audit")).json["items"]
    ]
    assert audit[0] == ("remove_budget", "budget spring-1", "for tag:spring: spring is over")
    assert audit[2] == (
        "set_budget",
        "budget spring-1",
        "100 credits (day, UTC) for tag:spring: agreed with sales",
    )


@pytest.mark.parametrize(
    ("used", "left", "state"),
    [
        ((30, 20), (50, 0), "open"),
        ((99.999999, 0), (0.000001, 0), "open"),
        ((60, 40), (0, 0), "closed"),
        ((112.5, 10), (0, 22.5), "closed"),
    ],
)
async def test_what_is_used_is_shown_in_credits(
    api: CheckedApi,
    store: Store,
    used: tuple[float, float],
    left: tuple[float, float],
    state: str,
) -> None:
    await put(api)
    await use(store, spent=used[0], reserved=used[1])
    found = await shown(api)
    assert (found["spent"], found["reserved"]) == used
    assert ((found["left"], found["exceeded_by"]), found["state"]) == (left, state)
    advice = "Wait for the next day, or raise the limit"
    assert found["action"] == (advice if state == "closed" else "")


async def test_a_period_begins_at_midnight_of_its_time_zone(api: CheckedApi) -> None:
    day = (await put(api, time_zone="Europe/Berlin")).json
    month = (await put(api, period="month", time_zone="Europe/Berlin")).json
    first, following = (datetime.fromisoformat(day[n]) for n in ("starts_at", "resets_at"))
    assert first.astimezone(BERLIN).time() == datetime.min.time()
    assert following.astimezone(BERLIN).date() == first.astimezone(BERLIN).date() + timedelta(1)
    assert datetime.fromisoformat(month["resets_at"]).astimezone(BERLIN).day == 1
    total = (await put(api, period="total")).json
    assert (total["starts_at"], total["resets_at"]) == (None, None)


async def test_a_higher_limit_keeps_what_is_spent_and_another_scope_starts_anew(
    api: CheckedApi, store: Store
) -> None:
    await put(api)
    await use(store, spent=100)
    raised = (await put(api, limit=150, note="one more day")).json
    assert (raised["spent"], raised["left"], raised["state"]) == (100, 50, "open")
    assert raised["note"] == "one more day"
    for change in ({"scope": "studio"}, {"period": "month"}, {"time_zone": "Asia/Tokyo"}):
        await use(store, spent=100)
        anew = (await put(api, **change)).json
        assert (anew["spent"], anew["state"]) == (0, "counting"), change
        assert (await put(api)).json["spent"] == 0


async def test_what_waits_is_the_queued_jobs_of_the_lanes_it_closes(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    for name in ("a", "b", "c"):
        await job_factory.queued(name)
    await job_factory.queued("other", account="studio")
    for name, scope in (("one", "default"), ("two", "default/model/gpt-image-2"), ("no", "studio")):
        await put(api, name, scope=scope)
    await use(store, "one", spent=100)
    await use(store, "no", spent=50)
    waiting = {one["name"]: one["waiting"] for one in (await api.get("/v1/budgets")).json["items"]}
    assert waiting == {"one": 3, "two": 3, "no": 0}  # the second is counting
    await job_factory.ran("model/gpt-image-2", cost=60.0)
    await use(store, "two", spent=30)
    assert (await shown(api, "two"))["waiting"] == 0
    await use(store, "two", spent=50)
    assert ((await shown(api, "two"))["state"], (await shown(api, "two"))["waiting"]) == (
        "closed",
        3,
    )


async def test_what_waits_for_a_tag_is_what_left_its_lane(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await put(api, scope="tag:a")
    await job_factory.queued("kept", tags=("a",))
    await job_factory.queued("free", tags=("a",))
    await job_factory.transition("kept", lambda job: transitions.wait_for_budget(job, "b"))
    assert (await shown(api))["waiting"] == 1
    assert await store.jobs.members(Index.BUDGET, "b", 10) == ["kept"]


PROBLEMS: list[tuple[dict[str, object], str, str]] = [
    ({"limit": -1}, "limit", "more than 0"),
    ({"limit": 0}, "limit", "more than 0"),
    ({"limit": 0.0000001}, "limit", "more than 0"),
    ({"limit": 1_000_000_001}, "limit", "at most 1,000,000,000"),
    ({"limit": 10**400}, "limit", "a number of credits"),
    ({"limit": "100"}, "limit", "a number of credits"),
    ({"limit": True}, "limit", "a number of credits"),
    ({"limit": None}, "limit", "a number of credits"),
    ({"scope": "tag:"}, "scope", "write tag:NAME"),
    ({"scope": "batch:  "}, "scope", "write batch:NAME"),
    ({"scope": "tag:a b"}, "scope", "letters, digits and"),
    ({"scope": "tag:" + "x" * 65}, "scope", "1 to 64"),
    ({"scope": "batch:" + "x" * 129}, "scope", "1 to 128"),
    ({"scope": "x" * 300}, "scope", "an account"),
    ({"scope": "default/video"}, "scope", "is not a scope: write an account"),
    ({"scope": "default/model/a/b"}, "scope", "is not a scope"),
    ({"scope": "everything:x"}, "scope", "is not a scope"),
    ({"scope": ""}, "scope", "is not a scope"),
    ({"scope": 7}, "scope", "an account"),
    ({"period": "week"}, "period", "day, month or total"),
    ({"period": ""}, "period", "day, month or total"),
    ({"time_zone": "Mars/Olympus"}, "time_zone", "Europe/Berlin"),
    ({"time_zone": "localtime"}, "time_zone", "Europe/Berlin"),
    ({"time_zone": "../../etc/passwd"}, "time_zone", "Europe/Berlin"),
    ({"time_zone": "europe/berlin"}, "time_zone", "Europe/Berlin"),
    ({"time_zone": ""}, "time_zone", "Europe/Berlin"),
    ({"time_zone": "x" * 65}, "time_zone", "name of a time zone"),
    ({"note": "x" * 1_001}, "note", "1000"),
    ({"timezone": "UTC"}, "timezone", "did you mean time_zone?"),
    ({"colour": "red"}, "colour", "there are"),
]


@pytest.mark.parametrize(("changes", "field", "fix"), PROBLEMS)
async def test_bad_input_is_named_with_the_fix(
    api: CheckedApi, changes: dict[str, object], field: str, fix: str
) -> None:
    data = msgspec.json.encode({k: v for k, v in (DAY | changes).items() if v != 10**400})
    if changes.get("limit") == 10**400:
        data = data[:-1] + b',"limit":1' + b"0" * 400 + b"}"
    reply = await api.put_text("/v1/budgets/b", data)
    assert (reply.status, reply.field) == (422, field), reply.body
    assert fix in reply.detail
    assert (await api.get("/v1/budgets")).json["items"] == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
async def test_a_limit_that_is_no_number_is_refused(api: CheckedApi, number: str) -> None:
    text = f'{{"scope":"default","period":"day","limit":{number}}}'
    reply = await api.put_text("/v1/budgets/b", text.encode())
    assert reply.status in (400, 422)
    assert (await api.get("/v1/budgets")).json["items"] == []


@pytest.mark.parametrize("field", ["scope", "period", "limit"])
async def test_a_missing_field_is_named(api: CheckedApi, field: str) -> None:
    reply = await api.put("/v1/budgets/b", {k: v for k, v in DAY.items() if k != field})
    assert (reply.status, reply.field) == (422, field)
    assert "is missing" in reply.detail


@pytest.mark.parametrize(
    "name", ["B", "a%20b", "-a", "a-", "ä", "a:b", "a%2Fb", "x" * 65, "%3Cscript%3E", "a%0A"]
)
async def test_a_name_of_other_characters_is_refused(api: CheckedApi, name: str) -> None:
    reply = await put(api, name)
    assert (reply.status, reply.field) == (422, "name")
    assert "lowercase letters" in reply.detail
    assert (await api.get(f"/v1/budgets/{name}")).status == 404


async def test_one_budget_more_than_there_may_be_is_refused(
    api: CheckedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets_module, "MAX_BUDGETS", 2)
    for name in ("a", "b"):
        assert (await put(api, name)).status == 200
    reply = await put(api, "c")
    assert (reply.status, reply.field) == (422, "name")
    assert "there are 2 budgets: remove one first" in reply.detail
    assert (await put(api, "a", limit=7)).status == 200


async def test_one_that_cannot_be_read_stops_every_job_until_it_is_set_anew(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("a")
    await store.client.call("HSET", store.keys.budgets, "b", b"7 {")
    found = await shown(api)
    assert (found["state"], found["scope"], found["waiting"]) == ("unreadable", "", 1)
    assert (found["set_at"], found["resets_at"]) == (None, None)
    assert found["error"]
    anew = (await put(api)).json
    assert (anew["state"], anew["error"]) == ("counting", "")
    await store.client.call("HSET", store.keys.budgets, "b", b"7 {")
    assert (await api.delete("/v1/budgets/b")).status == 200
    assert (await api.get("/v1/budgets")).json["items"] == []


async def test_one_of_a_newer_version_is_left_as_it_is(api: CheckedApi, store: Store) -> None:
    newer = b'9 {"schema":9,"scope":"studio","colour":"red"}'
    await store.client.call("HSET", store.keys.budgets, "b", newer)
    found = await shown(api)
    assert (found["state"], "newer version" in found["error"]) == ("unreadable", True)
    for reply in (await put(api), await api.delete("/v1/budgets/b", {})):
        assert (reply.status, reply.json["type"]) == (409, "urn:knouds-worker:problem:newer-schema")
        assert reply.detail.startswith("the budget b was written by a newer version: its schema is")
    assert await store.client.call("HGET", store.keys.budgets, "b") == newer


async def test_tokens_of_a_tenant_neither_see_nor_change_budgets(of_tenants: CheckedApi) -> None:
    text = msgspec.json.encode(DAY)
    for token in ("red-ops", "red-own"):
        headers = bearer(token) | {"Content-Type": "application/json"}
        for method, path in (
            ("GET", "/v1/credits"),
            ("GET", "/v1/budgets"),
            ("GET", "/v1/budgets/b"),
            ("PUT", "/v1/budgets/b"),
            ("DELETE", "/v1/budgets/b"),
        ):
            body = text if method == "PUT" else None
            reply = await of_tenants.call(method, path, headers=headers, body=body)
            assert reply.status == 403, (token, method, path)
