"""`/v1/schedules`: set, see, switch, run and remove them, and what is wrong with a request."""

import json
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from config.settings import Settings
from jobs.indexes import Index
from jobs.schedules.record import Skip, SkipCause
from tests.api.checked_api import REQUEST, ApiReply, CheckedApi
from tests.api.conftest import OpenApi, OpenWithTokens
from tests.api.event_stream_client import streaming
from tests.api.token_entries import Entry, bearer
from worker.store import Store, schedules

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY: Final = {"cron": "30 3 * * *", "time_zone": "Europe/Berlin", "job": REQUEST}
PATH: Final = "/v1/schedules/nightly"


async def put(api: CheckedApi, name: str = "nightly", /, **changes: object) -> ApiReply:
    return await api.put(f"/v1/schedules/{name}", NIGHTLY | changes)


async def test_a_schedule_is_set_shown_listed_and_removed(api: CheckedApi, store: Store) -> None:
    job = REQUEST | {"tags": ["t"], "priority": 3}
    reply = await put(api, job=job, note="agreed with sales")
    assert reply.status == 200, reply.body
    found = reply.json
    assert found == (await api.get(PATH)).json
    assert found | {"next_ticks": [], "set_at": "", "why": []} == {
        "name": "nightly",
        "tenant": "",
        "cron": "30 3 * * *",
        "time_zone": "Europe/Berlin",
        "job": job,
        "overlap": "skip",
        "catch_up": "last",
        "enabled": True,
        "next_ticks": [],
        "last_run": None,
        "last_skip": None,
        "runs": [],
        "why": [],
        "error": "",
        "set_by": "local",
        "set_at": "",
        "note": "agreed with sales",
    }
    ticks = [datetime.fromisoformat(text).astimezone(BERLIN) for text in found["next_ticks"]]
    assert [tick.strftime("%H:%M") for tick in ticks] == ["03:30"] * 5
    assert len({tick.date() for tick in ticks}) == 5
    await put(api, "a", overlap="enqueue", catch_up="all", enabled=False, job=REQUEST)
    page = (await api.get("/v1/schedules")).json
    assert [one["name"] for one in page["items"]] == ["a", "nightly"]
    listed = page["items"][1]
    assert "inputs" not in listed["job"]
    assert (listed["runs"], listed["why"], len(listed["next_ticks"])) == (None, None, 1)
    removed = await api.delete(PATH, {"note": "spring is over"})
    assert (removed.status, removed.json["cron"]) == (200, "30 3 * * *")
    for reply in (await api.get(PATH), await api.delete(PATH), await api.post(f"{PATH}/run", {})):
        assert (reply.status, reply.json["type"]) == (
            404,
            "urn:knouds-worker:problem:no-such-schedule",
        )
    audit = [
        (one["act"], one["on"], one["note"]) for one in (await api.get("/v1/audit")).json["items"]
    ]
    lane = f"default/{REQUEST['kind']}/{REQUEST['target']}"
    assert audit[0] == ("remove_schedule", "schedule nightly", "30 3 * * *: spring is over")
    assert audit[-1] == (
        "set_schedule",
        "schedule nightly",
        f"30 3 * * * (Europe/Berlin) for {lane}: agreed with sales",
    )
    assert await store.schedules.inputs("nightly") is None


@pytest.mark.parametrize(
    ("changes", "field", "detail"),
    [
        ({"cron": "0 0 30 2 *"}, "cron", "cron never comes: the day of month 30 is in none"),
        ({"cron": "61 * * * *"}, "cron", "cron has a wrong minute '61'"),
        ({"cron": "@daily"}, "cron", "cron has 1 field and must have 5"),
        ({"cron": 5}, "cron", "cron must be a cron line of five fields"),
        ({"cron": "0," * 200}, "cron", "cron must be a cron line of five fields"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "time_zone 'Mars/Olympus' is not the name"),
        ({"time_zone": "localtime"}, "time_zone", "time_zone 'localtime' is not the name"),
        ({"overlap": "queue"}, "overlap", 'overlap must be "skip"'),
        ({"catch_up": "some"}, "catch_up", 'catch_up must be "none", "last" or "all"'),
        ({"enabled": "yes"}, "enabled", "enabled must be true, or false"),
        ({"job": []}, "job", "job must be a job request"),
        ({"job": {}}, "job.kind", "job.kind is missing"),
        ({"job": REQUEST | {"target": "No"}}, "job.target", "job.target must be a model's"),
        ({"job": REQUEST | {"id": "x"}}, "job.id", "job.id cannot be given: each tick has its own"),
        ({"job": REQUEST | {"run_at": "x"}}, "job.run_at", "job.run_at cannot be given"),
        ({"job": REQUEST | {"delay_s": 5}}, "job.delay_s", "job.delay_s cannot be given"),
        ({"job": REQUEST | {"prio": 5}}, "job.prio", "job.prio is not known here: did you mean"),
        ({"tz": "UTC"}, "tz", "tz is not known here"),
        ({"note": "x" * 1_001}, "note", "note must be a string of at most"),
    ],
)
async def test_a_wrong_field_is_named_with_the_fix(
    api: CheckedApi, changes: dict[str, object], field: str, detail: str
) -> None:
    reply = await put(api, **changes)
    assert (reply.status, reply.field) == (422, field), reply.body
    assert reply.detail.startswith(detail)
    assert (await api.get("/v1/schedules")).json["items"] == []


@pytest.mark.parametrize("name", ["UPPER", "a b", "-a", "a.", "x" * 65, "red~~a", "%00"])
async def test_a_wrong_name_is_refused(api: CheckedApi, name: str) -> None:
    reply = await put(api, name)
    assert (reply.status, reply.field) == (422, "name")
    assert (await api.get(f"/v1/schedules/{name}")).status == 404


async def test_inputs_are_as_large_as_those_of_an_enqueue(
    store: Store, namespace: str, open_api: OpenApi
) -> None:
    settings = Settings(namespace=namespace, http_port=0, max_inputs_bytes=2_000)
    async with open_api(store, settings) as api:
        large = REQUEST | {"inputs": {"prompt": "x" * 2_000}}
        reply = await put(api, job=large)
        assert (reply.status, reply.field) == (422, "job.inputs")
        assert (await put(api, job=REQUEST | {"inputs": {"prompt": "x" * 1_900}})).status == 200


async def test_a_change_of_the_job_keeps_the_ticks_and_another_line_begins_now(
    api: CheckedApi, store: Store
) -> None:
    await put(api)
    await store.client.call("HSET", store.keys.schedule_ticks, "nightly", 100)
    other = REQUEST | {"inputs": {"prompt": "a dog"}}
    assert (await put(api, job=other, overlap="enqueue")).json["job"] == other
    assert await store.schedules.highest_ticks(["nightly"]) == [100]
    await put(api, cron="31 3 * * *")
    assert (await store.schedules.highest_ticks(["nightly"]))[0] > 100


async def test_a_schedule_is_disabled_and_enabled_from_now_on(
    api: CheckedApi, store: Store
) -> None:
    await put(api)
    reply = await api.post(f"{PATH}/disable", {"note": "holidays"})
    assert (reply.status, reply.json["enabled"], reply.json["next_ticks"]) == (200, False, [])
    assert reply.json["why"][0] | {"text": ""} == {
        "kind": "disabled",
        "text": "",
        "action": "Enable it: knouds-worker schedules enable nightly",
        "hold_id": None,
        "breaker_id": None,
        "until": None,
    }
    await store.client.call("HSET", store.keys.schedule_ticks, "nightly", 100)
    reply = await api.post(f"{PATH}/enable", {})
    assert (reply.json["enabled"], len(reply.json["next_ticks"])) == (True, 5)
    assert (await store.schedules.highest_ticks(["nightly"]))[0] > 100
    assert reply.json["job"] == REQUEST
    acts = [one["act"] for one in (await api.get("/v1/audit")).json["items"]]
    assert acts == ["enable_schedule", "disable_schedule", "set_schedule"]


async def test_a_run_now_is_a_job_of_the_schedule_once_for_each_key(
    api: CheckedApi, store: Store
) -> None:
    await put(api, enabled=False)
    first = await api.post(f"{PATH}/run", {"note": "try"})
    assert (first.status, first.json["schedule"]) == (202, "nightly")
    job_id = first.json["id"]
    assert job_id.startswith("schedule:nightly:run:")
    assert first.headers["Location"] == f"/v1/jobs/{job_id}"
    assert (await api.job(job_id))["inputs"] == REQUEST["inputs"]
    key = {"Idempotency-Key": "k-1"}
    second = await api.post(f"{PATH}/run", {}, headers=key)
    again = await api.post(f"{PATH}/run", {}, headers=key)
    assert (second.status, again.status) == (202, 200)
    assert second.json["id"] == again.json["id"] != job_id
    found = (await api.get(PATH)).json
    assert [one["id"] for one in found["runs"]] == [second.json["id"], job_id]
    assert found["last_run"]["id"] == second.json["id"]
    assert (found["runs"][0]["state"], found["runs"][0]["tick"]) == ("queued", None)
    audit = (await api.get("/v1/audit")).json["items"]
    runs = [(one["note"], one["jobs"]) for one in audit if one["act"] == "run_schedule"]
    assert runs == [(f"job {second.json['id']}", 1), (f"job {job_id}: try", 1)]
    assert await store.schedules.highest_ticks(["nightly"]) != [0]


async def test_what_keeps_it_from_running_is_said(api: CheckedApi) -> None:
    await put(api)
    kinds = [one["kind"] for one in (await api.get(PATH)).json["why"]]
    assert kinds == ["no_worker"]
    running = (await api.post(f"{PATH}/run", {})).json["id"]
    await api.post("/v1/holds", {"scope": "default", "note": "price check"})
    why = (await api.get(PATH)).json["why"]
    assert [one["kind"] for one in why] == ["overlap", "hold", "no_worker"]
    assert why[0]["text"] == f"job {running} is not finished: ticks until then are skipped"
    assert why[1]["hold_id"]
    await put(api, overlap="enqueue")
    assert (await api.get(PATH)).json["why"][0]["kind"] == "hold"


async def test_ticks_that_were_left_out_are_shown(api: CheckedApi, store: Store) -> None:
    await put(api)
    await store.client.call("HSET", store.keys.schedule_ticks, "nightly", 100)
    schedule = await store.schedules.find("nightly")
    assert schedule is not None
    skip = Skip(cause=SkipCause.OVERLAP, tick=3_600, at=3_601.5, count=2, message="job-1")
    assert await store.schedules.skip(schedule, 100, skip)
    assert (await api.get(PATH)).json["last_skip"] == {
        "cause": "overlap",
        "tick": "1970-01-01T01:00:00.000Z",
        "count": 2,
        "at": "1970-01-01T01:00:01.500Z",
        "message": "job-1",
    }


async def test_a_record_that_cannot_be_read_is_shown_and_can_be_set_anew(
    api: CheckedApi, store: Store
) -> None:
    await put(api)
    await store.client.call("HSET", store.keys.schedules, "nightly", b"7 {")
    found = (await api.get(PATH)).json
    assert found["error"].startswith("UNREADABLE_RECORD")
    assert (found["enabled"], found["set_at"], found["job"]["inputs"]) == (
        False,
        None,
        REQUEST["inputs"],
    )
    assert [one["kind"] for one in found["why"]] == ["unreadable"]
    for act in ("run", "enable"):
        assert (await api.post(f"{PATH}/{act}", {})).status == 422
    assert (await put(api)).json["error"] == ""


async def test_a_record_of_a_newer_version_is_left_alone(api: CheckedApi, store: Store) -> None:
    await put(api)
    await store.client.call("HSET", store.keys.schedules, "nightly", b'7 {"schema":99}')
    for reply in (
        await put(api),
        await api.delete(PATH),
        await api.post(f"{PATH}/enable", {}),
    ):
        assert (reply.status, reply.json["type"]) == (409, "urn:knouds-worker:problem:newer-schema")
    assert await store.client.call("HGET", store.keys.schedules, "nightly") == b'7 {"schema":99}'


async def test_there_are_so_many_schedules(
    api: CheckedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 1)
    await put(api)
    reply = await put(api, "other")
    assert (reply.status, reply.field) == (422, "name")
    assert (await put(api)).status == 200


TOKENS: Final[tuple[Entry, ...]] = (
    {"name": "reader", "role": "read"},
    {"name": "watcher", "role": "watch"},
    {"name": "app", "role": "enqueue"},
    {"name": "only-suno", "role": "operate", "targets": ["suno"]},
    {"name": "only-workflows", "role": "operate", "kinds": ["workflow"]},
    {"name": "only-team", "role": "operate", "accounts": ["team"]},
    {"name": "limited", "role": "operate", "limits": {"open_jobs": 1}},
    {"name": "red-own", "role": "enqueue", "tenant": "red", "own": True},
    {"name": "red-ops", "role": "operate", "tenant": "red"},
    {"name": "blue-ops", "role": "operate", "tenant": "blue"},
)


async def call(api: CheckedApi, token: str, method: str, path: str, body: Any = None) -> ApiReply:
    headers = bearer(token) | ({} if body is None else {"Content-Type": "application/json"})
    data = None if body is None else json.dumps(body).encode()
    return await api.call(method, path, body=data, headers=headers)


async def test_a_schedule_needs_the_role_and_the_rights_of_an_enqueue(
    open_with_tokens: OpenWithTokens,
) -> None:
    async with open_with_tokens(TOKENS) as api:
        assert (await call(api, "ops", "PUT", PATH, NIGHTLY)).status == 200
        for token, status in (("reader", 200), ("watcher", 403), ("app", 403), ("red-own", 403)):
            for path in (PATH, "/v1/schedules"):
                found = await call(api, token, "GET", path)
                assert found.status == (404 if token == "red-own" and status == 200 else status)
        for method, path in (
            ("PUT", PATH),
            ("DELETE", PATH),
            ("POST", f"{PATH}/run"),
            ("POST", f"{PATH}/enable"),
            ("POST", f"{PATH}/disable"),
        ):
            assert (await call(api, "reader", method, path, {})).status == 403
        for token, field in (
            ("only-suno", "job.target"),
            ("only-workflows", "job.kind"),
            ("only-team", "job.account"),
        ):
            for method, path, body in (("PUT", PATH, NIGHTLY), ("POST", f"{PATH}/run", {})):
                reply = await call(api, token, method, path, body)
                assert (reply.status, reply.field) == (403, field)
        suno = NIGHTLY | {"job": REQUEST | {"target": "suno"}}
        assert (await call(api, "only-suno", "PUT", PATH, suno)).status == 200


async def test_the_limits_of_a_token_count_its_runs(
    open_with_tokens: OpenWithTokens, store: Store
) -> None:
    async with open_with_tokens(TOKENS) as api:
        await call(api, "limited", "PUT", PATH, NIGHTLY)
        schedule = await store.schedules.find("nightly")
        assert schedule is not None
        assert schedule.counted_for == "limited"
        assert (await call(api, "limited", "POST", f"{PATH}/run", {})).status == 202
        assert len(await store.jobs.members(Index.OPEN, "limited", 5)) == 1
        reply = await call(api, "limited", "POST", f"{PATH}/run", {})
        assert (reply.status, reply.json["reason"]) == (429, "open_jobs")


async def test_a_tenant_has_names_of_its_own(
    open_with_tokens: OpenWithTokens, store: Store
) -> None:
    async with open_with_tokens(TOKENS) as api:
        for token in ("red-ops", "blue-ops", "ops"):
            body = NIGHTLY | {"note": token}
            reply = await call(api, token, "PUT", PATH, body)
            assert (reply.status, reply.json["name"]) == (200, "nightly")
        for token, tenant in (("red-ops", "red"), ("blue-ops", "blue")):
            found = (await call(api, token, "GET", "/v1/schedules")).json["items"]
            assert [(one["name"], one["tenant"], one["note"]) for one in found] == [
                ("nightly", tenant, token)
            ]
            assert (await call(api, token, "GET", "/v1/schedules/red~nightly")).status == 404
            run = await call(api, token, "POST", f"{PATH}/run", {})
            assert (run.status, run.json["schedule"], run.json["tenant"]) == (
                202,
                "nightly",
                tenant,
            )
            assert await store.jobs.load(f"{tenant}~{run.json['id']}") is not None
        names = [
            one["name"] for one in (await call(api, "ops", "GET", "/v1/schedules")).json["items"]
        ]
        assert names == ["blue~nightly", "nightly", "red~nightly"]
        assert (await call(api, "ops", "DELETE", "/v1/schedules/red~nightly")).status == 200
        assert (await call(api, "red-ops", "GET", PATH)).status == 404
        assert (await call(api, "blue-ops", "GET", PATH)).status == 200


async def test_a_change_is_an_event_for_its_tenant(open_with_tokens: OpenWithTokens) -> None:
    async with (
        open_with_tokens(TOKENS) as api,
        streaming(api.url, headers=bearer("red-ops")) as red,
        streaming(api.url, headers=bearer("ops")) as all_of_them,
    ):
        await red.until_begun()
        await all_of_them.until_begun()
        await call(api, "blue-ops", "PUT", PATH, NIGHTLY)
        await call(api, "red-ops", "PUT", PATH, NIGHTLY)
        await call(api, "red-ops", "POST", f"{PATH}/disable", {})
        own = [await red.next_event() for _ in range(2)]
        others = [await all_of_them.next_event() for _ in range(3)]
    assert [(one.event, one.data["name"], one.data["change"]) for one in own if one] == [
        ("schedule", "nightly", "set"),
        ("schedule", "nightly", "disabled"),
    ]
    assert [one.data["name"] for one in others if one] == [
        "blue~nightly",
        "red~nightly",
        "red~nightly",
    ]
