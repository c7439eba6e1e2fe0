"""Groups of the parked and the dead, and holds."""

import pytest

from jobs.holds import Hold
from jobs.lanes import Scope
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import NO_CREDITS, JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.store import Store


async def place_hold(job_factory: JobFactory, hold_id: str = "hold-1") -> Hold:
    """A hold as a 402 puts it up."""
    hold = await job_factory.store.holds.place(
        Hold(
            id=hold_id,
            scope=Scope("default"),
            code=NO_CREDITS.display_code,
            http_status=402,
            message=NO_CREDITS.message,
            action="Top up, then release",
            action_url="https://knouds.ai/settings/billing",
            created_at=job_factory.clock.now(),
        )
    )
    assert hold is not None
    return hold


async def test_parked_jobs_are_grouped_by_what_they_wait_for(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.held("a")
    await job_factory.held("b")
    await job_factory.held("c", target="suno")
    await job_factory.uncertain("d")
    await job_factory.dead("e")
    await job_factory.ran("model/gpt-image-2", cost=2.5)
    groups = (await api.get("/v1/groups", state="parked")).json["items"]
    found = {(g["code"], g["target"]): (g["count"], g["est_cost"]) for g in groups}
    assert found == {
        ("INSUFFICIENT_CREDITS", "gpt-image-2"): (2, 5.0),
        ("INSUFFICIENT_CREDITS", "suno"): (1, None),
        ("uncertain", "gpt-image-2"): (1, 2.5),
    }
    assert groups[0]["action"] == "Top up, then release"
    assert groups[0]["action_url"] == "https://knouds.ai/settings/billing"
    assert groups[0]["oldest"] == (await api.job("a"))["updated_at"]
    assert (groups[0]["account"], groups[0]["kind"]) == ("default", "model")


async def test_uncertain_jobs_are_grouped_by_cause_and_resolved_by_it(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    for n in range(3):
        await job_factory.uncertain(f"p{n}", "HTTP_502")
    for n in range(2):
        await job_factory.uncertain(f"w{n}", "worker_lost")
    groups = (await api.get("/v1/groups")).json["items"]
    found = {(group["code"], group["cause"]): group["count"] for group in groups}
    assert found == {("uncertain", "HTTP_502"): 3, ("uncertain", "worker_lost"): 2}

    chosen = {"filter": {"code": "uncertain", "cause": "HTTP_502"}}
    preview = (await api.post("/v1/bulk/resubmit", {**chosen, "dry_run": True})).json
    assert (preview["matched"], preview["done"]) == (3, 3)
    done = (await api.post("/v1/bulk/resubmit", {**chosen, "note": "the proxy never ran"})).json
    assert done["done"] == 3
    assert {(await api.job(f"p{n}"))["state"] for n in range(3)} == {"queued"}
    (entry,) = await latest_audit_entries(job_factory.store, 1)
    assert (entry["act"], entry["jobs"]) == ("bulk_resubmit", "3")

    listed = (await api.get("/v1/jobs", code="uncertain", cause="worker_lost")).json["items"]
    assert {job["id"] for job in listed} == {"w0", "w1"}
    await api.post("/v1/bulk/discard", {"filter": {"cause": "worker_lost"}})
    assert (await api.get("/v1/groups")).json["items"] == []


async def test_only_uncertain_jobs_are_resubmitted(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.held("held")
    await job_factory.uncertain("lost")
    done = (await api.post("/v1/bulk/resubmit", {"filter": {"state": "parked"}})).json
    assert (done["done"], done["skipped"]) == (1, 1)
    assert (await api.job("held"))["state"] == "parked"


async def test_a_release_of_stuck_runs_says_that_nothing_is_sent(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.stuck("stuck")
    done = (await api.post("/v1/bulk/release", {"filter": {"code": "stuck"}})).json
    assert (done["done"], done["deadlines_extended"], done["est_cost"]) == (1, 1, 0)
    assert (await api.job("stuck"))["state"] == "running"


async def test_dead_letters_have_groups_of_their_own(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.dead("e")
    (group,) = (await api.get("/v1/groups", state="dead")).json["items"]
    assert (group["state"], group["code"], group["count"]) == ("dead", "INVALID_INPUTS", 1)
    assert (await api.get("/v1/groups")).json == {"items": [], "next_cursor": None}


async def test_other_states_have_no_groups(api: CheckedApi) -> None:
    reply = await api.get("/v1/groups", state="queued")
    assert (reply.status, reply.field) == (400, "state")


async def test_a_pause_stays_until_it_is_released(api: CheckedApi, store: Store) -> None:
    reply = await api.post("/v1/holds", {"scope": "default/model", "note": "maintenance"})
    hold = reply.json
    assert reply.status == 201
    assert (hold["scope"], hold["code"], hold["phase"]) == ("default/model", "manual", "closed")
    assert (hold["created_by"], hold["note"], hold["jobs"]) == ("local", "maintenance", 0)
    assert (await api.get("/v1/holds")).json["items"] == [hold]
    released = (await api.post(f"/v1/holds/{hold['id']}/release")).json
    assert released["released"] == 0
    assert (await api.get("/v1/holds")).json["items"] == []
    assert [entry["act"] for entry in await latest_audit_entries(store, 5)] == [
        "release_hold",
        "hold",
    ]


async def test_a_second_pause_of_a_scope_is_the_existing_one(api: CheckedApi) -> None:
    first = await api.post("/v1/holds", {"scope": "default"})
    second = await api.post("/v1/holds", {"scope": "default", "note": "again"})
    assert (second.status, second.json) == (200, first.json)


async def test_a_release_frees_the_jobs_that_the_hold_parked(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    hold = await place_hold(job_factory)
    for n in range(3):
        await job_factory.held(f"j{n}", hold)
    await job_factory.held("other")
    assert (await api.get("/v1/holds")).json["items"][0]["jobs"] == 3
    answer = (await api.post(f"/v1/holds/{hold.id}/release", {"note": "topped up"})).json
    assert answer["released"] == 3
    assert (answer["hold"]["phase"], answer["hold"]["step"]) == ("opening", 1)
    assert (answer["hold"]["released_by"], answer["hold"]["note"]) == ("local", "topped up")
    assert answer["hold"]["jobs"] == 0
    states = {(await api.job(f"j{n}"))["state"] for n in range(3)}
    assert states == {"queued"}
    assert (await api.job("other"))["state"] == "parked"


async def test_a_release_of_no_hold_is_404(api: CheckedApi) -> None:
    assert (await api.post("/v1/holds/hold-0/release")).status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "scope"),
        ({"scope": "default/video"}, "scope"),
        ({"scope": "a/model/b/c"}, "scope"),
        ({"scope": ""}, "scope"),
        ({"scope": "default/model/GPT"}, "scope"),
        ({"scope": 7}, "scope"),
        ({"scope": "default", "until": 1}, "until"),
    ],
)
async def test_a_scope_that_is_none_is_refused(api: CheckedApi, body: object, field: str) -> None:
    reply = await api.post("/v1/holds", body)
    assert (reply.status, reply.field) == (422, field)
    assert (await api.get("/v1/holds")).json["items"] == []


async def test_a_request_behind_a_gate_is_taken_and_says_so(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    hold = await place_hold(job_factory)
    reply = await api.enqueue(id="behind")
    assert (reply.status, reply.json["state"]) == (202, "queued")
    assert reply.json["held_by"] == {
        "hold_id": hold.id,
        "scope": "default",
        "code": NO_CREDITS.display_code,
        "action": "Top up, then release",
        "action_url": "https://knouds.ai/settings/billing",
    }
    assert (await api.enqueue(id="open", account="studio")).json["held_by"] is None
    (listed,) = (await api.get("/v1/jobs", state="queued", account="default")).json["items"]
    assert listed["held_by"]["hold_id"] == hold.id
