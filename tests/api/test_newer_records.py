"""Records of a newer version: they are shown with words, and every action on them is refused."""

from typing import Any

import msgspec
import pytest

from jobs.holds import hold_id
from jobs.job import JOB_SCHEMA
from jobs.lanes import Scope
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from tests.doctor.integrity_runs import check_integrity, damage_of
from tests.store.redis_contents import everything
from worker.store import Store

WORDS = "written by a newer version"


@pytest.fixture
async def newer_job(store: Store, job_factory: JobFactory) -> str:
    job = await job_factory.held()
    record = msgspec.to_builtins(job) | {"schema": JOB_SCHEMA + 1, "reason": {"is": "another"}}
    await store.client.call("HSET", store.keys.job(job.id), "rec", msgspec.json.encode(record))
    return job.id


async def test_it_is_shown_with_words(api: CheckedApi, newer_job: str) -> None:
    job = (await api.get(f"/v1/jobs/{newer_job}")).json
    assert (job["state"], job["target"]) == ("parked", "gpt-image-2")
    why = (await api.get(f"/v1/jobs/{newer_job}/why")).json
    assert why["blockers"][0]["kind"] == "newer_schema"
    assert WORDS in why["blockers"][0]["text"]
    assert "version" in why["blockers"][0]["action"]
    listed = (await api.get("/v1/jobs?state=parked")).json["items"]
    assert WORDS in listed[0]["reason"]["message"]


async def test_groups_and_holds_say_that_no_action_fits(
    api: CheckedApi, store: Store, newer_job: str
) -> None:
    (group,) = (await api.get("/v1/groups?state=parked")).json["items"]
    assert (group["newer"], group["count"]) == (bool(newer_job), 1)
    await api.post("/v1/holds", {"scope": "default"})
    await store.client.call("HSET", store.keys.holds, "default/model|X", b'{"schema":2}')
    holds = (await api.get("/v1/holds")).json["items"]
    assert {one["scope"]: one["newer"] for one in holds} == {
        "default": False,
        "default/model": True,
    }


@pytest.mark.parametrize("action", ["release", "cancel", "discard", "requeue", "park"])
async def test_an_action_on_it_is_refused(
    api: CheckedApi, store: Store, newer_job: str, action: str
) -> None:
    before = await everything(store)
    refused = await api.post(f"/v1/jobs/{newer_job}/{action}", {})
    assert (refused.status, refused.json["type"]) == (409, "urn:knouds-worker:problem:newer-schema")
    assert WORDS in refused.json["detail"]
    assert await everything(store) == before


async def test_bulk_actions_and_repeated_ids_leave_it_alone(
    api: CheckedApi, store: Store, newer_job: str
) -> None:
    record = await store.client.call("HGETALL", store.keys.job(newer_job))
    counts = (await api.post("/v1/bulk/release", {"filter": {"state": "parked"}})).json
    assert counts["done"] == 0
    assert any(WORDS in why for why in counts["skipped_why"])
    request: dict[str, Any] = {"kind": "model", "target": "suno", "inputs": {}, "id": newer_job}
    assert (await api.post("/v1/jobs", request)).status == 409
    results = (await api.post("/v1/jobs/bulk", {"jobs": [request]})).json["results"]
    assert results[0]["status"] == 409
    assert WORDS in str(results[0]["error"])
    assert await store.client.call("HGETALL", store.keys.job(newer_job)) == record


async def test_a_newer_hold_cannot_be_released(api: CheckedApi, store: Store) -> None:
    key = "default/model|X"
    await store.client.call("HSET", store.keys.holds, key, b'{"schema":2,"is":"new"}')
    (hold,) = (await api.get("/v1/holds")).json["items"]
    assert WORDS in hold["message"]
    assert hold["id"] == hold_id(Scope("default/model"), "X")
    assert (await api.post(f"/v1/holds/{hold['id']}/release", {})).status == 409
    assert await store.client.call("HGET", store.keys.holds, key) == b'{"schema":2,"is":"new"}'


async def test_doctor_names_it_and_repairs_nothing(store: Store, newer_job: str) -> None:
    before = await everything(store)
    report = await check_integrity(store, repair=True)
    assert damage_of(report) == [("newer", newer_job, "left")]
    assert WORDS in report.reported[0][0].text
    assert await everything(store) == before
