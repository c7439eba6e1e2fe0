"""`PATCH /v1/jobs/{id}`: what can be changed of a job that is not at the provider, and what not."""

from typing import Any

import msgspec
import pytest

from jobs.indexes import Index
from jobs.lanes import Lane
from jobs.states import Kind
from jobs.transitions import JobEdit
from tests.api.checked_api import ApiReply, CheckedApi
from tests.api.conftest import OpenWithTokens
from tests.api.job_factory import JobFactory
from tests.api.test_start_by import at
from tests.api.token_entries import bearer
from tests.doctor.integrity_runs import check_integrity, damage_of
from tests.store.redis_contents import indexes, latest_audit_entries
from worker.app.actions import Actor
from worker.app.job_edits import JobEdits
from worker.clock import SystemClock
from worker.store import Store

LANE = Lane("default", Kind.MODEL, "gpt-image-2")


async def patch(api: CheckedApi, job_id: str, token: str = "", **facts: object) -> ApiReply:
    headers = {"Content-Type": "application/json", **(bearer(token) if token else {})}
    body = msgspec.json.encode(facts)
    return await api.call("PATCH", f"/v1/jobs/{job_id}", body=body, headers=headers)


async def ids(store: Store, kind: Index, name: str) -> list[str]:
    return [str(one) for one in await store.jobs.members(kind, name, 10)]


async def test_a_queued_job_is_changed_with_its_place_its_tags_and_the_audit(
    api: CheckedApi, store: Store
) -> None:
    await api.enqueue(id="first", tags=["a"])
    await api.enqueue(id="second", tags=["a"])
    reply = await patch(api, "second", priority=5, tags=["b", "b"], note="for the demo")
    assert reply.status == 200, reply.body
    job = reply.json
    assert (job["priority"], job["tags"], job["state"]) == (5, ["b"], "queued")
    assert job["events"][-1]["event"] == "edited"
    assert await ids(store, Index.LANE, str(LANE)) == ["second", "first"]
    assert (await ids(store, Index.TAG, "a"), await ids(store, Index.TAG, "b")) == (
        ["first"],
        ["second"],
    )
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"]) == ("edit", "second")
    assert entry["note"] == "priority 0 → 5; tags a → b: for the demo"
    assert (await api.enqueue(id="second", tags=["a"])).status == 200, "its request is the same"


async def test_nothing_is_written_where_nothing_changes(api: CheckedApi, store: Store) -> None:
    await api.enqueue(id="j1", priority=5)
    before = await store.client.call("HGET", store.keys.job("j1"), "rev")
    assert (await patch(api, "j1", priority=5)).status == 200
    assert await store.client.call("HGET", store.keys.job("j1"), "rev") == before
    assert not await latest_audit_entries(store, 1)


async def test_its_time_is_changed(api: CheckedApi) -> None:
    await api.enqueue(id="j1")
    until = at(3_600)
    job = (await patch(api, "j1", run_at=until)).json
    assert (job["state"], job["scheduled_for"]) == ("scheduled", until)
    job = (await patch(api, "j1", run_at="now", start_by=at(7_200))).json
    assert (job["state"], job["start_by"] is None) == ("scheduled", False)
    job = (await patch(api, "j1", start_by="none")).json
    assert job["start_by"] is None


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "body", "changes nothing"),
    ({"priority": 101}, "priority", "from -100 to 100"),
    ({"tags": ["a b"]}, "tags[0]", "must be"),
    ({"tags": [f"t{n}" for n in range(21)]}, "tags", "at most 20"),
    ({"run_at": "none"}, "run_at", "RFC 3339"),
    ({"run_at": "2030-01-31T09:30:00"}, "run_at", "no time zone"),
    ({"run_at": "2090-01-31T09:30:00Z"}, "run_at", "within ten years"),
    ({"start_by": "2020-01-31T09:30:00Z"}, "start_by", "in the past"),
    ({"target": "suno"}, "target", "not known here"),
]


@pytest.mark.parametrize(("facts", "field", "text"), REFUSED)
async def test_a_wrong_edit_is_refused_with_its_field(
    api: CheckedApi, facts: dict[str, Any], field: str, text: str
) -> None:
    await api.enqueue(id="j1")
    reply = await patch(api, "j1", **facts)
    assert (reply.status, reply.field) == (422, field), reply.body
    assert text in reply.detail


async def test_times_at_which_nothing_could_be_sent_are_refused(api: CheckedApi) -> None:
    await api.enqueue(id="j1", start_by=at(60))
    late = await patch(api, "j1", run_at=at(120))
    assert (late.status, late.field) == (422, "run_at")
    await api.enqueue(id="j2", delay_s=120)
    early = await patch(api, "j2", start_by=at(60))
    assert (early.status, early.field) == (422, "start_by")


@pytest.mark.parametrize("state", ["submitting", "running", "succeeded", "uncertain", "stuck"])
async def test_what_the_provider_has_is_409_in_words(
    api: CheckedApi, job_factory: JobFactory, state: str
) -> None:
    await getattr(job_factory, state)("j1")
    reply = await patch(api, "j1", priority=5)
    assert reply.status == 409
    assert "cannot edit a job that is" in reply.detail
    assert (await patch(api, "nothing", priority=5)).status == 404


async def test_it_needs_the_role_operate_and_the_own_tenant(
    open_with_tokens: OpenWithTokens, job_factory: JobFactory
) -> None:
    tokens: list[dict[str, object]] = [
        {"name": "reader", "role": "read"},
        {"name": "red-ops", "role": "operate", "tenant": "red"},
    ]
    async with open_with_tokens(tokens) as api:
        await job_factory.queued("j1")
        await job_factory.queued("red~j1")
        assert (await patch(api, "j1", "reader", priority=1)).status == 403
        assert (await patch(api, "j1", "red-ops", priority=1)).json["id"] == "j1"
        mine, theirs = [await job_factory.store.jobs.load(one) for one in ("j1", "red~j1")]
        assert mine is not None
        assert theirs is not None
        assert (mine.job.priority, theirs.job.priority) == (0, 1)


async def test_a_lost_race_is_decided_again_on_the_job_as_it_is(
    api: CheckedApi, store: Store, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker admits it between the read and the write: then the provider may have it."""
    await job_factory.queued("j1")
    commit = store.jobs.commit
    raced: list[int] = []

    async def slow_commit(*args: Any, **facts: Any) -> Any:
        if not raced:
            raced.append(1)
            await job_factory.submit("j1")
        return await commit(*args, **facts)

    monkeypatch.setattr(store.jobs, "commit", slow_commit)
    reply = await patch(api, "j1", priority=5)
    assert (reply.status, raced) == (409, [1])
    assert (await api.job("j1"))["priority"] == 0
    assert not await latest_audit_entries(store, 1)


async def test_the_integrity_check_finds_nothing_after_edits(
    store: Store, job_factory: JobFactory
) -> None:
    edits, ann, now = JobEdits(store, SystemClock()), Actor("ann"), SystemClock().now()
    await job_factory.queued("queued", tags=("a", "b"), start_by=now + 60)
    await job_factory.retrying("retrying")
    await job_factory.held("held", tags=("a",))
    await job_factory.dead("dead", tags=("b",))
    for name in ("queued", "retrying", "held", "dead"):
        wanted = JobEdit(priority=9, tags=("c",), start_by=now + 600)
        await edits.edit(name, wanted, ann)
    await edits.edit("queued", JobEdit(run_at=now + 30), ann)
    await edits.edit("queued", JobEdit(start_by=None), ann)
    report = await check_integrity(store)
    assert damage_of(report) == []
    assert not [key for key in await indexes(store) if key.endswith((":tag:a", ":tag:b"))]
