"""Lists, single jobs and why one waits."""

from datetime import UTC, datetime

import pytest

from jobs.lanes import Scope
from jobs.states import State
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from worker.api.models.response import rfc3339
from worker.app.actions import Actions, Actor
from worker.store import Store
from worker.store.workers import Heartbeat


async def ids(api: CheckedApi, **params: str | float) -> list[str]:
    reply = await api.get("/v1/jobs", **params)
    assert reply.status == 200, reply.body
    return [job["id"] for job in reply.json["items"]]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, ["e", "d", "c", "b", "a"]),
        ({"state": "parked"}, ["c"]),
        ({"state": "dead"}, ["d"]),
        ({"kind": "model"}, ["e", "d", "c", "b", "a"]),
        ({"kind": "workflow"}, []),
        ({"kind": "model", "target": "gpt-image-2"}, ["e", "d", "c", "b"]),
        ({"target": "suno"}, ["a"]),
        ({"code": "INSUFFICIENT_CREDITS"}, ["c"]),
        ({"tag": "t1"}, ["d", "a"]),
        ({"batch": "b1"}, ["b"]),
        ({"account": "studio"}, ["b"]),
        ({"account": "default", "tag": "t1", "state": "dead"}, ["d"]),
        ({"limit": 2}, ["e", "d"]),
    ],
)
async def test_a_list_shows_what_its_filters_admit_newest_first(
    api: CheckedApi, job_factory: JobFactory, params: dict[str, str | float], found: list[str]
) -> None:
    await job_factory.queued("a", target="suno", tags=("t1",))
    await job_factory.queued("b", batch="b1", account="studio")
    await job_factory.held("c")
    await job_factory.dead("d", tags=("t1",))
    await job_factory.succeeded("e")
    assert await ids(api, **params) == found


async def test_a_list_can_be_cut_by_time(api: CheckedApi, job_factory: JobFactory) -> None:
    start = 1_900_000_000.0
    for n in range(4):
        await job_factory.queued(f"j{n}", created_at=start + n)
    at = [datetime.fromtimestamp(start + n, UTC).isoformat() for n in range(4)]
    assert await ids(api, since=at[1], until=at[3]) == ["j2", "j1"]
    with_space = at[2].replace("+", " ")
    assert await ids(api, since=with_space) == ["j3", "j2"]


async def test_pages_together_show_every_job_once(api: CheckedApi, job_factory: JobFactory) -> None:
    for n in range(7):
        await job_factory.queued(f"j{n}")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        reply = await api.get("/v1/jobs", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [job["id"] for job in reply.json["items"]]
        cursor = reply.json["next_cursor"]
    assert seen == [f"j{n}" for n in reversed(range(7))]


async def test_a_list_has_complete_rows_without_payloads(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.succeeded("j1")
    (row,) = (await api.get("/v1/jobs")).json["items"]
    details = await api.job("j1")
    assert details["inputs"] == {"prompt": "a cat"}
    assert details["result"] == {"url": "https://x"}
    assert row == {**details, "inputs": None, "result": None}


@pytest.mark.parametrize(
    ("params", "field", "says"),
    [
        ({"limit": 0}, "limit", "1 to 500"),
        ({"limit": 501}, "limit", "1 to 500"),
        ({"limit": "many"}, "limit", "1 to 500"),
        ({"state": "wating"}, "state", "queued"),
        ({"kind": "x"}, "kind", "workflow"),
        ({"target": "A B"}, "target", "target"),
        ({"since": "2030-01-31"}, "since", "RFC 3339"),
        ({"until": "9999-12-31T23:59:59-14:00"}, "until", "year 9999 in UTC"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since", "from the year 1"),
        ({"until": "2030-01-31T09:30:00"}, "until", "no time zone"),
        ({"cursor": "nonsense"}, "cursor", "cursor"),
        ({"cursor": "é"}, "cursor", "cursor"),
        ({"stat": "dead"}, "stat", "did you mean state"),
    ],
)
async def test_a_wrong_parameter_is_named(
    api: CheckedApi, params: dict[str, str | float], field: str, says: str
) -> None:
    reply = await api.get("/v1/jobs", **params)
    assert (reply.status, reply.field) == (400, field)
    assert says in reply.detail


async def test_a_cursor_of_another_list_is_refused(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued()
    for n in range(2):
        await job_factory.dead(f"d{n}")
    cursor = (await api.get("/v1/jobs", state="dead", limit=1)).json["next_cursor"]
    reply = await api.get("/v1/jobs", state="parked", cursor=cursor)
    assert (reply.status, reply.field) == (400, "cursor")


async def test_a_parameter_given_twice_is_refused(api: CheckedApi) -> None:
    reply = await api.get("/v1/jobs?state=dead&state=parked")
    assert (reply.status, reply.field) == (400, "state")


async def test_a_call_that_takes_no_parameters_refuses_them(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1")
    for path in ("/v1/jobs/j1?full=1", "/v1/stats?x=1", "/v1/holds?x=1"):
        assert (await api.get(path)).status == 400


@pytest.mark.parametrize("path", ["/v1/jobs/none", "/v1/jobs/none/why", "/v1/jobs/none/wait"])
async def test_an_unknown_job_is_404(api: CheckedApi, path: str) -> None:
    reply = await api.get(path)
    assert reply.status == 404
    assert "'none'" in reply.detail


async def test_an_id_that_no_job_can_have_is_404(api: CheckedApi) -> None:
    for odd in ("%00", "a%20b", "x" * 300, "%ff", "..%2f"):
        assert (await api.get(f"/v1/jobs/{odd}")).status == 404


async def test_the_history_is_returned(api: CheckedApi, job_factory: JobFactory) -> None:
    await job_factory.retrying("j1")
    job = await api.job("j1")
    assert (job["state"], job["attempt"]) == ("retrying", 1)
    assert job["reason"]["code"] == "EXECUTION_FAILED"
    (attempt,) = job["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["mode"]) == (1, "failed", "async")
    assert (attempt["execution_id"], attempt["http_status"]) == ("exec-j1", 500)
    named = [event["event"] for event in job["events"]]
    assert named == ["enqueue", "admit", "send", "accept", "retry"]


async def test_a_result_of_any_shape_is_passed_on_untouched(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    text = b'{"n": 1.50,   "big": 12345678901234567890123, "list": [1, {}]}'
    await job_factory.succeeded("j1", text)
    assert text in (await api.get("/v1/jobs/j1")).body


async def test_a_large_result_is_no_trouble(api: CheckedApi, job_factory: JobFactory) -> None:
    text = b'{"data":"' + b"x" * (4 << 20) + b'"}'
    await job_factory.succeeded("j1", text)
    reply = await api.get("/v1/jobs/j1")
    assert reply.status == 200
    assert text in reply.body


async def test_a_time_no_calendar_holds_breaks_no_answer(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1", scheduled_for=1e30)
    assert (await api.job("j1"))["scheduled_for"] == "9999-12-31T23:59:59.000Z"


async def test_why_names_what_blocks_the_job(api: CheckedApi, job_factory: JobFactory) -> None:
    await Actions(job_factory.store, job_factory.clock).place_hold(
        Scope("default"), Actor("ann", "month's end")
    )
    await job_factory.queued("j0")
    await job_factory.queued("j1")
    why = (await api.get("/v1/jobs/j1/why")).json
    assert (why["id"], why["state"]) == ("j1", "queued")
    assert [blocker["kind"] for blocker in why["blockers"]] == ["hold", "no_worker", "line"]
    assert why["blockers"][0]["hold_id"]
    assert why["blockers"][2]["text"].startswith("1 job before it")


async def test_why_has_nothing_to_say_of_a_running_job(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.running("j1")
    assert (await api.get("/v1/jobs/j1/why")).json["blockers"] == []


async def test_stats_count_queues_states_and_workers(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    now = job_factory.clock.now()
    await job_factory.queued("a")
    await job_factory.queued("b")
    await job_factory.running("c")
    await job_factory.held("d")
    await job_factory.store.workers.record_heartbeat(
        Heartbeat(id="w1", host="h", pid=1, started_at=now, seen_at=now, polling=1)
    )
    stats = (await api.get("/v1/stats")).json
    assert (stats["states"]["queued"], stats["states"]["dead"]) == (2, 0)
    assert stats["oldest"].keys() == {"queued", "running", "parked"}
    (lane,) = stats["lanes"]
    assert (lane["lane"], lane["queued"], lane["active"]) == ("default/model/gpt-image-2", 2, 1)
    assert [worker["id"] for worker in stats["workers"]] == ["w1"]
    assert stats["rates"]["enqueued_per_min"] == 4


async def _damage(store: Store, job_id: str) -> None:
    await store.client.call("HSET", store.keys.job(job_id), "rec", b"garbage{")


async def test_an_unreadable_record_at_the_head_of_a_lane_is_a_dead_letter_for_the_numbers(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("first", account="studio")
    second = await job_factory.queued("second", account="studio")
    await _damage(store, "first")
    stats = (await api.get("/v1/stats")).json
    assert (stats["states"]["queued"], stats["states"]["dead"]) == (1, 1)
    (lane,) = stats["lanes"]
    assert (lane["queued"], lane["head_since"]) == (1, rfc3339(second.created_at))


async def test_a_group_of_unreadable_records_is_one_of_dead_letters(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.held("h")
    await _damage(store, "h")
    assert (await api.get("/v1/groups", state="parked")).json["items"] == []
    (group,) = (await api.get("/v1/groups", state="dead")).json["items"]
    assert (group["code"], group["count"]) == ("UNREADABLE_RECORD", 1)


async def test_a_bulk_action_makes_a_dead_letter_of_an_unreadable_record(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("bad", batch="b1")
    await job_factory.queued("good", batch="b1")
    await _damage(store, "bad")
    reply = await api.post("/v1/bulk/cancel", {"filter": {"batch": "b1"}})
    assert (reply.json["matched"], reply.json["done"]) == (1, 1)
    counts, _ = await store.read.queries.state_counts()
    assert (counts[State.QUEUED], counts[State.DEAD]) == (0, 1)
