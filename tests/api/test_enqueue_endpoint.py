"""`POST /v1/jobs` and `POST /v1/jobs/bulk`: taken once, refused with the field and the fix."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec
import pytest

from config.settings import Settings
from jobs.job import Job
from jobs.states import State
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.job_factory import JobFactory
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused, JobStore
from worker.store.side_writes import SideWrites

JOB_FIELDS = (
    "id tenant kind target account state reason held_by waits_for_budget priority"
    " tags batch fair_key schedule callback_url metadata after inputs result cost"
    " estimate mode attempt max_attempts execution_id request_id created_at scheduled_for start_by"
    " submitted_at eta eta_late finished_at updated_at attempts events finding"
    " payloads_hidden payload_problem"
)


async def test_a_request_is_taken_and_on_record_when_it_is_answered(
    api: CheckedApi, store: Store
) -> None:
    reply = await api.enqueue(
        id="j1", priority=5, tags=["a", "b", "a"], batch="b1", max_attempts=2, account="studio"
    )
    assert reply.status == 202
    assert reply.headers["Location"] == "/v1/jobs/j1"
    job = reply.json
    assert (job["state"], job["attempt"], job["max_attempts"]) == ("queued", 0, 2)
    assert (job["priority"], job["tags"], job["batch"]) == (5, ["a", "b"], "b1")
    assert job["inputs"] == {"prompt": "a cat"}
    assert [event["event"] for event in job["events"]] == ["enqueue"]
    assert job["events"][0]["by"] == "local"
    assert await store.jobs.load("j1") is not None
    assert await api.job("j1") | {"est_cost": None} == job


async def test_a_job_has_exactly_the_documented_members(api: CheckedApi) -> None:
    answer = (await api.enqueue()).json
    assert list(answer) == [*JOB_FIELDS.split(), "est_cost"]
    assert list(await api.job(answer["id"])) == JOB_FIELDS.split()


async def test_times_are_utc_with_milliseconds(api: CheckedApi) -> None:
    created = (await api.enqueue()).json["created_at"]
    assert len(created) == len("2030-01-31T09:30:00.000Z")
    age = datetime.now(UTC) - datetime.fromisoformat(created)
    assert timedelta(seconds=-1) < age < timedelta(seconds=10)


async def test_an_id_is_made_where_none_is_given(api: CheckedApi) -> None:
    ids = {(await api.enqueue()).json["id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("key", ["j1", '"j1"'])
async def test_the_idempotency_key_is_the_id(api: CheckedApi, key: str) -> None:
    headers = {"Idempotency-Key": key}
    assert (await api.post("/v1/jobs", REQUEST, headers=headers)).json["id"] == "j1"
    assert (await api.post("/v1/jobs", REQUEST, headers=headers)).status == 200
    assert (await api.post("/v1/jobs", {**REQUEST, "id": "j1"}, headers=headers)).status == 200


async def test_an_idempotency_key_beside_another_id_is_refused(api: CheckedApi) -> None:
    reply = await api.post("/v1/jobs", {**REQUEST, "id": "j2"}, headers={"Idempotency-Key": "j1"})
    assert (reply.status, reply.field) == (400, "Idempotency-Key")


async def test_an_idempotency_key_that_cannot_be_an_id_is_refused(api: CheckedApi) -> None:
    reply = await api.post("/v1/jobs", REQUEST, headers={"Idempotency-Key": "a b"})
    assert (reply.status, reply.field) == (400, "Idempotency-Key")


async def test_the_same_request_again_answers_with_the_first_job_as_it_is_now(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    job_request = {**REQUEST, "id": "j1"}
    assert (await api.post("/v1/jobs", job_request)).status == 202
    await job_factory.transition(
        "j1",
        lambda job: msgspec.structs.replace(job, state=State.SUCCEEDED),
    )
    reply = await api.post("/v1/jobs", job_request)
    assert (reply.status, reply.json["state"]) == (200, "succeeded")
    assert reply.headers["Location"] == "/v1/jobs/j1"


async def test_the_order_of_names_in_inputs_makes_no_other_payload(api: CheckedApi) -> None:
    first = {"id": "j1", "inputs": {"a": 1, "b": {"c": 2, "d": 3}}}
    again = {"inputs": {"b": {"d": 3, "c": 2}, "a": 1}, "id": "j1"}
    assert (await api.enqueue(**first)).status == 202
    assert (await api.enqueue(**again)).status == 200


@pytest.mark.parametrize(
    "change", [{"inputs": {"prompt": "a dog"}}, {"priority": 1}, {"tags": ["x"]}]
)
async def test_the_same_id_with_another_payload_is_a_conflict(
    api: CheckedApi, change: dict[str, object]
) -> None:
    await api.enqueue(id="j1")
    reply = await api.post("/v1/jobs", {**REQUEST, "id": "j1", **change})
    assert (reply.status, reply.field) == (409, "id")
    assert reply.headers["Location"] == "/v1/jobs/j1"
    assert (await api.job("j1"))["inputs"] == {"prompt": "a cat"}


async def test_a_time_to_come_schedules(api: CheckedApi) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=123_000)
    local = at.astimezone(tz=None).isoformat()
    job = (await api.enqueue(run_at=local)).json
    assert job["state"] == "scheduled"
    assert datetime.fromisoformat(job["scheduled_for"]) == at


async def test_a_delay_schedules_and_none_does_not(api: CheckedApi) -> None:
    assert (await api.enqueue(delay_s=60.5)).json["state"] == "scheduled"
    assert (await api.enqueue(delay_s=0)).json["state"] == "queued"


async def test_a_time_long_past_is_refused(api: CheckedApi) -> None:
    reply = await api.post("/v1/jobs", {**REQUEST, "run_at": "2020-01-01T00:00:00Z"})
    assert (reply.status, reply.field) == (422, "run_at")
    assert "past" in reply.detail


@pytest.mark.parametrize(
    ("run_at", "message"),
    [
        ("9999-12-31T23:59:59-14:00", "from the year 1 to the year 9999 in UTC"),
        ("9999-12-31T23:59:59Z", "within ten years from now"),
        ("2060-01-31T09:30:00Z", "within ten years from now"),
    ],
)
async def test_a_time_too_far_in_the_future_is_refused(
    api: CheckedApi, run_at: str, message: str
) -> None:
    reply = await api.post("/v1/jobs", {**REQUEST, "run_at": run_at})
    assert (reply.status, reply.field) == (422, "run_at")
    assert message in reply.detail


async def test_inputs_are_kept_to_the_digit(api: CheckedApi) -> None:
    text = (
        b'{"kind":"model","target":"m","id":"j1",'
        b'"inputs":{"big":123456789012345678901234567890,"f":1.0,"text":"\\u0000\xf0\x9f\x98\x80"}}'
    )
    assert (await api.post_text("/v1/jobs", text)).status == 202
    body = (await api.get("/v1/jobs/j1")).body
    assert b'"big":123456789012345678901234567890,"f":1.0' in body


async def test_inputs_over_the_limit_are_refused_with_both_sizes(
    store: Store, namespace: str, open_api: OpenApi
) -> None:
    settings = Settings(namespace=namespace, http_port=0, max_inputs_bytes=2048)
    async with open_api(store, settings) as api:
        assert (await api.enqueue(inputs={"p": "x" * (2048 - 8)})).status == 202
        reply = await api.post("/v1/jobs", {**REQUEST, "inputs": {"p": "x" * (2048 - 7)}})
    assert (reply.status, reply.field) == (422, "inputs")
    assert "2049" in reply.detail
    assert "2048" in reply.detail


async def test_a_body_over_the_limit_is_refused(
    store: Store, namespace: str, open_api: OpenApi
) -> None:
    settings = Settings(
        namespace=namespace, http_port=0, max_inputs_bytes=1024, max_body_bytes=4096
    )
    async with open_api(store, settings) as api:
        reply = await api.post("/v1/jobs", {**REQUEST, "inputs": {"p": "x" * 5000}})
    assert reply.status == 413
    assert "KNOUDS_MAX_BODY_BYTES" in reply.detail


# Many at once.


async def test_a_bulk_takes_the_good_and_names_the_bad(api: CheckedApi) -> None:
    job_requests: list[object] = [
        {**REQUEST, "id": "j1"},
        {**REQUEST, "id": "j2", "priority": 1000},
        "nonsense",
        {**REQUEST, "target": "no such slug"},
        {**REQUEST, "run_at": "2020-01-01T00:00:00Z"},
        REQUEST,
    ]
    reply = await api.post("/v1/jobs/bulk", {"jobs": job_requests})
    assert reply.status == 200
    results = reply.json["results"]
    assert [result["status"] for result in results] == [202, 422, 422, 422, 422, 202]
    assert [result["id"] for result in results[:4]] == ["j1", "j2", None, None]
    fields = [result["error"]["field"] for result in results if "error" in result]
    assert fields == ["priority", "job", "target", "run_at"]
    assert (await api.job(results[5]["id"]))["state"] == "queued"


async def test_ids_twice_in_one_bulk_are_like_calls_one_after_the_other(
    api: CheckedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Redis answers to the first of them last."""
    create, calls = JobStore.create_if, count()

    async def slow_at_first(
        self: JobStore, job: Job, writes: SideWrites
    ) -> VersionedJob | CommitRefused:
        if next(calls) == 0:
            await asyncio.sleep(0.05)
        return await create(self, job, writes)

    monkeypatch.setattr(JobStore, "create_if", slow_at_first)
    first: dict[str, object] = {**REQUEST, "id": "j1"}
    other: dict[str, object] = {**first, "inputs": {}}
    reply = await api.post("/v1/jobs/bulk", {"jobs": [first, first, other, first]})
    assert [result["status"] for result in reply.json["results"]] == [202, 200, 409, 200]
    assert (await api.job("j1"))["inputs"] == REQUEST["inputs"]


async def test_a_bulk_keeps_the_order_of_its_jobs(api: CheckedApi, store: Store) -> None:
    jobs = [{**REQUEST, "id": f"j{n:04d}"} for n in range(1000)]
    reply = await api.post("/v1/jobs/bulk", {"jobs": jobs})
    assert {result["status"] for result in reply.json["results"]} == {202}
    stored = await store.jobs.load("j0000")
    assert stored is not None
    (heads,) = await store.lanes.heads([stored.job.lane], [1000])
    assert [job_id for job_id, _ in heads] == [job["id"] for job in jobs]


async def test_a_bulk_over_a_thousand_is_refused_entirely(api: CheckedApi) -> None:
    reply = await api.post("/v1/jobs/bulk", {"jobs": [REQUEST] * 1001})
    assert (reply.status, reply.field) == (422, "jobs")
    assert (await api.get("/v1/jobs")).json["items"] == []


@pytest.mark.parametrize("body", [{}, {"jobs": {}}, {"jobs": [], "job": 1}, []])
async def test_a_bulk_without_its_list_is_refused(api: CheckedApi, body: object) -> None:
    assert (await api.post("/v1/jobs/bulk", body)).status == 422


async def test_an_empty_bulk_has_no_results(api: CheckedApi) -> None:
    assert (await api.post("/v1/jobs/bulk", {"jobs": []})).json == {"results": []}


async def test_an_idempotency_key_on_a_bulk_is_refused_not_ignored(api: CheckedApi) -> None:
    headers = {"Idempotency-Key": "k"}
    reply = await api.post("/v1/jobs/bulk", {"jobs": [REQUEST]}, headers=headers)
    assert (reply.status, reply.field) == (400, "Idempotency-Key")
