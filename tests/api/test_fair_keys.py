"""Fair keys over HTTP: requests, filters, why a job waits, and statistics."""

import pytest

from jobs import transitions
from jobs.fairness import FairTurn
from jobs.holds import Hold
from jobs.lanes import Lane, Scope
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.job_factory import JobFactory
from tests.api.token_entries import bearer
from tests.store.redis_contents import sorted_set
from tests.store.test_commit import committed
from tests.unit.core.job_builders import NOW
from worker.app.bulk_request import JobSelection
from worker.app.queries import Queries
from worker.store import Store
from worker.store.read.filter import Filter
from worker.store.side_writes import SideWrites

LANE = Lane.parse("default/model/gpt-image-2")


async def fill(api: CheckedApi) -> None:
    """Three jobs of one key, one of another, and one without."""
    for number, key in enumerate(("ann", "ann", "ann", "bob")):
        assert (await api.enqueue(id=f"j{number}", fair_key=key)).status == 202
    await api.enqueue(id="free")


async def test_a_key_is_on_record_and_lists_filter_by_it(api: CheckedApi) -> None:
    await fill(api)
    assert (await api.job("j0"))["fair_key"] == "ann"
    assert (await api.job("free"))["fair_key"] is None
    page = (await api.get("/v1/jobs", fair_key="ann")).json
    assert [job["id"] for job in page["items"]] == ["j2", "j1", "j0"]


async def test_the_same_id_with_another_key_is_a_conflict(api: CheckedApi) -> None:
    assert (await api.enqueue(id="j", fair_key="ann")).status == 202
    assert (await api.enqueue(id="j", fair_key="ann")).status == 200
    reply = await api.post("/v1/jobs", REQUEST | {"id": "j", "fair_key": "bob"})
    assert reply.status == 409


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "a|b", "ä", 7])
async def test_a_key_that_is_none_is_refused_by_name(api: CheckedApi, key: object) -> None:
    reply = await api.post("/v1/jobs", REQUEST | {"fair_key": key})
    assert reply.status == 422
    assert reply.json["field"] == "fair_key"


async def test_a_bulk_action_is_for_the_jobs_of_a_key(api: CheckedApi) -> None:
    await fill(api)
    body = {"filter": {"fair_key": "ann"}}
    assert (await api.post("/v1/bulk/cancel", body)).json["done"] == 3
    assert (await api.job("j3"))["state"] == "queued"


async def test_why_tells_how_keys_take_turns(api: CheckedApi) -> None:
    await fill(api)
    texts: dict[str, str] = {}
    for job_id in ("j2", "j3", "free"):
        blockers = (await api.get(f"/v1/jobs/{job_id}/why")).json["blockers"]
        texts[job_id] = next(one["text"] for one in blockers if one["kind"] == "line")
    assert texts["j2"].endswith(
        "4 jobs before it in its lane: 2 of its fair key ann, taking turns with 2 other keys"
    )
    assert "0 of its fair key bob" in texts["j3"]
    assert "0 without a fair key, taking turns with 2 other keys" in texts["free"]


async def test_why_names_the_cap_of_the_key(
    api: CheckedApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(api)
    why = Queries.why

    async def capped(self: Queries, *job: object) -> object:
        self.key_caps = {"*": 1}
        return await why(self, *job)  # type: ignore[arg-type]

    monkeypatch.setattr(Queries, "why", capped)
    await admit(store, "j0")
    blockers = (await api.get("/v1/jobs/j1/why")).json["blockers"]
    text = next(one["text"] for one in blockers if one["kind"] == "key_cap")
    assert text.startswith("its fair key ann is at its cap: 1 of 1 running in its lane")
    others = (await api.get("/v1/jobs/j3/why")).json["blockers"]
    assert "key_cap" not in [one["kind"] for one in others]


async def admit(store: Store, job_id: str) -> None:
    stored = await store.jobs.load(job_id)
    assert stored is not None
    job = transitions.admit(
        stored.job, NOW, submit_token="h", lease_until=NOW + 9e9, opening_hold_ids=()
    )
    await committed(store, stored, job, SideWrites(fair_turn=FairTurn(NOW, 1)))


async def test_stats_count_the_keys_that_wait(api: CheckedApi, store: Store) -> None:
    await fill(api)
    await admit(store, "j0")
    (lane,) = (await api.get("/v1/stats")).json["lanes"]
    assert (lane["queued"], lane["key_cap"]) == (4, None)
    assert lane["fair_keys"] == {
        "waiting": 2,
        "at_cap": 1,
        "busiest": [{"key": "ann", "queued": 2}, {"key": "bob", "queued": 1}],
    }


async def test_metrics_count_them_too(api: CheckedApi) -> None:
    await fill(api)
    text = (await api.get("/metrics")).body.decode()
    assert f'knouds_lane_fair_keys{{lane="{LANE}"}} 2.0' in text


async def test_a_lane_without_keys_says_so(api: CheckedApi, job_factory: JobFactory) -> None:
    del job_factory
    await api.enqueue()
    (lane,) = (await api.get("/v1/stats")).json["lanes"]
    assert lane["fair_keys"] is None


async def test_tenants_name_their_keys_as_they_like(of_tenants: CheckedApi, store: Store) -> None:
    for token in ("red-app", "blue-app", "app"):
        request = REQUEST | {"id": f"of-{token}", "fair_key": "ann"}
        reply = await of_tenants.post("/v1/jobs", request, headers=bearer(token))
        assert (reply.status, reply.json["fair_key"]) == (202, "ann")
    turns = store.keys.key_turns(str(LANE))
    assert set(await sorted_set(store, turns)) == {"", "ann", "blue~ann", "red~ann"}
    path = "/v1/jobs?fair_key=ann"
    page = (await of_tenants.call("GET", path, headers=bearer("red-ops"))).json
    assert [job["id"] for job in page["items"]] == ["of-red-app"]


def test_a_release_for_one_key_releases_no_hold() -> None:
    hold = Hold(id="h", scope=Scope("default"), code="C", created_at=NOW)
    for found, narrow in ((True, Filter()), (False, Filter(fair_key="ann"))):
        assert JobSelection(narrow, "{}").covers_lane(hold, LANE) is found


async def test_the_jobs_of_a_schedule_have_its_key(api: CheckedApi) -> None:
    schedule = {"cron": "0 3 * * *", "job": REQUEST | {"fair_key": "ann"}}
    assert (await api.put("/v1/schedules/nightly", schedule)).status in (200, 201)
    reply = await api.post("/v1/schedules/nightly/run", {})
    assert reply.status in (200, 201, 202), reply.body
    page = (await api.get("/v1/jobs", fair_key="ann")).json
    assert [job["schedule"] for job in page["items"]] == ["nightly"]
