"""Bulk actions: counted, previewed by a dry run, audited once, limited in parallel."""

import asyncio
from typing import Any

import msgspec
import pytest

from jobs import transitions
from jobs.holds import HoldPhase
from jobs.indexes import Index
from jobs.job import Job, Reason
from jobs.lanes import JobId, Scope
from jobs.outcomes import ProviderError
from jobs.states import State
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import NO_CREDITS, JobFactory
from tests.api.test_groups_and_holds import place_hold
from tests.api.test_job_actions import PREPARE
from tests.store.redis_contents import (
    everything,
    expected_indexes,
    indexes,
    latest_audit_entries,
    records,
)
from worker.app.action_table import JobAction
from worker.app.actions import Actions, Actor
from worker.app.bulk_request import apply_merge_patch
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore
from worker.store.read.filter import Filter
from worker.store.read.queries import JobQueries, Page

ACTIONS = ("release", "requeue", "discard", "cancel")


async def bulk(api: CheckedApi, action: str, wanted: object, **facts: object) -> Any:
    """A bulk action that must be accepted."""
    reply = await api.post(f"/v1/bulk/{action}", {"filter": wanted, **facts})
    assert reply.status == 200, reply.body
    counts = reply.json
    assert counts["matched"] == counts["done"] + counts["skipped"] + counts["failed"]
    assert counts["skipped"] == sum(counts["skipped_why"].values())
    return counts


def some(counts: Any) -> tuple[int, int, int, int]:
    return counts["matched"], counts["done"], counts["skipped"], counts["failed"]


async def states(store: Store) -> dict[str, State]:
    return {job_id: job.state for job_id, (_, job) in (await records(store)).items()}


async def assert_indexes_match(store: Store) -> None:
    """Every job is in the indexes its record names, and in no other."""
    found = [job for _, job in (await records(store)).values()]
    assert await indexes(store) == expected_indexes(store, found)


async def one_of_each(job_factory: JobFactory) -> None:
    """A job in each state a test can make, named after it."""
    await job_factory.queued("queued", batch="b")
    await job_factory.submitting("submitting")
    await job_factory.running("running")
    await job_factory.retrying("retrying")
    await job_factory.held("held")
    await job_factory.uncertain("uncertain")
    await job_factory.stuck("stuck")
    await job_factory.dead("dead", tags=("t",))
    await job_factory.succeeded("succeeded")


# Which jobs.


@pytest.mark.parametrize(
    ("action", "counts", "after"),
    [
        (
            "release",
            (3, 2, 1, 0),
            {"held": State.QUEUED, "stuck": State.RUNNING},
        ),
        ("requeue", (1, 1, 0, 0), {"dead": State.QUEUED}),
        (
            "discard",
            (4, 4, 0, 0),
            dict.fromkeys(("held", "uncertain", "stuck", "dead"), State.CANCELLED),
        ),
        (
            "cancel",
            (7, 7, 0, 0),
            {
                **dict.fromkeys(("queued", "retrying", "held", "uncertain"), State.CANCELLED),
                "running": State.CANCELLING,
                "stuck": State.CANCELLING,
            },
        ),
    ],
)
async def test_an_action_is_done_to_the_states_it_is_for_and_to_no_other(
    api: CheckedApi,
    job_factory: JobFactory,
    store: Store,
    *,
    action: str,
    counts: tuple[int, int, int, int],
    after: dict[str, State],
) -> None:
    await one_of_each(job_factory)
    before = await states(store)
    assert some(await bulk(api, action, {"all": True})) == counts
    assert await states(store) == {**before, **after}
    await assert_indexes_match(store)


async def test_a_submit_under_way_is_asked_to_be_cancelled(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.submitting()
    assert some(await bulk(api, "cancel", {"all": True})) == (1, 1, 0, 0)
    again = await bulk(api, "cancel", {"all": True})
    assert again["skipped_why"] == {"is being cancelled already": 1}
    stored = await job_factory.store.jobs.load("job")
    assert stored is not None
    assert stored.job.cancel_requested


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"state": "queued"}, "abcd"),
        ({"kind": "model", "target": "suno"}, "a"),
        ({"target": "suno"}, "a"),
        ({"tag": "t1"}, "ab"),
        ({"tag": "t1", "batch": "b1"}, "b"),
        ({"account": "studio"}, "b"),
        ({"code": "uncertain"}, ""),
        ({"since": "2030-01-01T00:00:00Z"}, "d"),
        ({"until": "2030-01-01T00:00:00Z", "tag": "t2"}, "bc"),
        ({"ids": ["a", "c", "a"]}, "ac"),
        ({"ids": ["a", "c"], "tag": "t1"}, "a"),
    ],
)
async def test_a_filter_means_what_it_means_in_a_list(
    api: CheckedApi, job_factory: JobFactory, store: Store, wanted: dict[str, Any], found: str
) -> None:
    await job_factory.queued("a", target="suno", tags=("t1",))
    await job_factory.queued("b", batch="b1", account="studio", tags=("t1", "t2"))
    await job_factory.queued("c", tags=("t2",))
    await job_factory.queued("d", created_at=1_900_000_000.0, tags=("t2",))
    assert some(await bulk(api, "cancel", wanted)) == (len(found), len(found), 0, 0)
    cancelled = {i for i, state in (await states(store)).items() if state is State.CANCELLED}
    assert cancelled == set(found)


async def test_named_jobs_that_do_not_match_are_reported_apart(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.dead("a")
    await job_factory.succeeded("b")
    counts = await bulk(api, "requeue", {"ids": ["a", "b", "c"]})
    assert some(counts) == (3, 1, 1, 1)
    assert counts["skipped_why"] == {"cannot requeue a job that is succeeded": 1}
    assert counts["errors"] == [{"id": "c", "detail": "there is no such job"}]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "filter"),
        ({}, "filter"),
        ({"filter": {}}, "filter"),
        ({"filter": {"all": False}}, "filter"),
        ({"filter": {"tag": None, "ids": None}}, "filter"),
        ({"filter": []}, "filter"),
        ({"filter": {"all": True, "tag": "t"}}, "filter.all"),
        ({"filter": {"all": 1}}, "filter.all"),
        ({"filter": {"ids": []}}, "filter.ids"),
        ({"filter": {"ids": ["a"] * 1001}}, "filter.ids"),
        ({"filter": {"ids": ["a", "../b"]}}, "filter.ids[1]"),
        ({"filter": {"state": "gone"}}, "filter.state"),
        ({"filter": {"state": "succeeded"}}, "filter.state"),
        ({"filter": {"targets": "x"}}, "filter.targets"),
        ({"filter": {"since": "yesterday"}}, "filter.since"),
        ({"filter": {"limit": 5}}, "filter.limit"),
        ({"filter": {"all": True}, "limit": 0}, "limit"),
        ({"filter": {"all": True}, "limit": 100_001}, "limit"),
        ({"filter": {"all": True}, "dry_run": "yes"}, "dry_run"),
        ({"filter": {"all": True}, "note": "x" * 1001}, "note"),
        ({"filter": {"all": True}, "inputs": {}}, "inputs"),
    ],
)
async def test_what_could_mean_all_by_mistake_is_refused_and_named(
    api: CheckedApi, job_factory: JobFactory, store: Store, *, action: str, body: object, field: str
) -> None:
    await one_of_each(job_factory)
    before = await everything(store)
    reply = await api.post(f"/v1/bulk/{action}", body)
    assert (reply.status, reply.field) == (422, field)
    assert await everything(store) == before


@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "requeue"])
async def test_only_a_requeue_takes_a_patch(api: CheckedApi, action: str) -> None:
    reply = await api.post(f"/v1/bulk/{action}", {"filter": {"all": True}, "patch_inputs": {}})
    assert (reply.status, reply.field) == (422, "patch_inputs")


# Counting first, and stopping early.


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_dry_run_counts_the_same_and_changes_nothing(
    api: CheckedApi, job_factory: JobFactory, store: Store, action: str
) -> None:
    await one_of_each(job_factory)
    hold = await place_hold(job_factory)
    await job_factory.held("behind", hold)
    patch = {"patch_inputs": {"n": 1}} if action == "requeue" else {}
    before = await everything(store)
    preview = await bulk(api, action, {"all": True}, dry_run=True, **patch)
    assert await everything(store) == before
    done = await bulk(api, action, {"all": True}, **patch)
    lost = {} if action in ("discard", "cancel") else {"inputs_lost": 0}
    assert preview == {**done, "dry_run": True, **lost}
    assert done["done"] > 0
    assert await everything(store) != before


async def lose_inputs(store: Store, *job_ids: str) -> None:
    """Remove inputs, as a Redis that lost data does."""
    for job_id in job_ids:
        await store.client.call("HDEL", store.keys.job(job_id), "inputs")


@pytest.mark.parametrize("ids", [None, ["held-1", "held-2", "manual", "stuck", "dead"]])
async def test_a_dry_run_counts_the_jobs_that_have_lost_their_inputs(
    api: CheckedApi, job_factory: JobFactory, store: Store, ids: list[str] | None
) -> None:
    """Through a hold or not; a stuck run needs none, since nothing is sent for it."""
    hold = await place_hold(job_factory)
    await job_factory.held("held-1", hold)
    await job_factory.held("held-2", hold)
    await job_factory.queued("manual")
    await job_factory.transition("manual", lambda job: transitions.park_manual(job, 1.0, by="x"))
    await job_factory.stuck("stuck")
    await job_factory.dead("dead")
    await lose_inputs(store, "held-2", "manual", "stuck", "dead")
    wanted = {"all": True} if ids is None else {"ids": ids}
    for action, lost in (("release", 2), ("requeue", 1)):
        preview = await bulk(api, action, wanted, dry_run=True)
        assert preview["inputs_lost"] == lost
    assert "inputs_lost" not in await bulk(api, "discard", wanted, dry_run=True)


async def test_a_dry_run_estimates_what_the_runs_will_cost(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.ran("model/gpt-image-2", cost=2.5)
    await job_factory.dead("a")
    await job_factory.dead("b")
    assert (await bulk(api, "requeue", {"all": True}, dry_run=True))["est_cost"] == 5.0
    await job_factory.dead("c", target="suno")
    assert (await bulk(api, "requeue", {"all": True}, dry_run=True))["est_cost"] is None
    assert (await bulk(api, "requeue", {"tag": "none"}, dry_run=True))["est_cost"] == 0.0


async def test_a_run_the_provider_has_already_is_not_estimated_again(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.ran("model/gpt-image-2", cost=2.5)
    await job_factory.stuck("a")
    await job_factory.held("b")
    assert (await bulk(api, "release", {"all": True}, dry_run=True))["est_cost"] == 2.5


@pytest.mark.parametrize("limit", [1, 40, 250])
async def test_a_limit_is_never_passed(
    api: CheckedApi, job_factory: JobFactory, store: Store, limit: int
) -> None:
    await asyncio.gather(*(job_factory.queued(f"j{n:03}") for n in range(300)))
    for dry_run in (True, False):
        counts = await bulk(api, "cancel", {"all": True}, limit=limit, dry_run=dry_run)
        assert some(counts) == (limit, limit, 0, 0)
    assert list((await states(store)).values()).count(State.CANCELLED) == limit


async def test_what_is_skipped_does_not_count_against_a_limit(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.held("old")
    await job_factory.uncertain("new")
    counts = await bulk(api, "release", {"all": True}, limit=1)
    assert some(counts) == (2, 1, 1, 0)


# On record.


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_call_is_on_record_once_with_its_filter_note_and_count(
    api: CheckedApi, job_factory: JobFactory, store: Store, action: str
) -> None:
    for n in range(3):
        match action:
            case "release":
                await job_factory.held(f"j{n}", tags=("t",))
            case "cancel":
                await job_factory.queued(f"j{n}", tags=("t",))
            case _:
                await job_factory.dead(f"j{n}", tags=("t",))
    wanted = {"tag": "t", "since": "2020-01-01T00:00:00.000Z"}
    await bulk(api, action, wanted, note="provider is back")
    (entry,) = await latest_audit_entries(store, 10)
    assert (entry["by"], entry["act"]) == ("local", f"bulk_{action}")
    assert msgspec.json.decode(entry["on"]) == wanted
    assert (entry["note"], entry["jobs"]) == ("provider is back", "3")
    for _, job in (await records(store)).values():
        assert (job.events[-1].by, job.events[-1].note) == ("local", "provider is back")


async def test_inputs_are_not_on_record(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.dead()
    await bulk(api, "requeue", {"all": True}, patch_inputs={"prompt": "a secret"})
    assert "secret" not in str(await latest_audit_entries(store, 10))


async def test_a_call_that_breaks_off_is_on_record_with_what_it_did(
    api: CheckedApi, job_factory: JobFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        await job_factory.queued(f"j{n}")
    commit, written = JobStore.commit, 0

    async def away(self: JobStore, old: VersionedJob, new: Job, *extra: Any) -> Any:
        nonlocal written
        written += 1
        if written > 3:
            raise ConnectionError
        return await commit(self, old, new, *extra)

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "commit", away)
        reply = await api.post("/v1/bulk/cancel", {"filter": {"all": True}})
    assert reply.status == 503
    (entry,) = await latest_audit_entries(store, 10)
    assert entry["jobs"] == "3"
    assert some(await bulk(api, "cancel", {"all": True})) == (2, 2, 0, 0)


# Repeated, and raced.


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_repeated_call_does_nothing_more(
    api: CheckedApi, job_factory: JobFactory, store: Store, action: str
) -> None:
    await one_of_each(job_factory)
    first = await bulk(api, action, {"all": True})
    before = await records(store)
    again = await bulk(api, action, {"all": True})
    assert first["done"] > 0
    assert (again["done"], again["failed"]) == (0, 0)
    assert await records(store) == before


async def test_two_calls_at_once_do_each_job_once(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    for n in range(100):
        await job_factory.dead(f"j{n}")
    one, two = await asyncio.gather(*(bulk(api, "requeue", {"all": True}) for _ in range(2)))
    assert one["done"] + two["done"] == 100
    assert {job.events[-1].name for _, job in (await records(store)).values()} == {"requeue"}
    assert sum(int(entry["jobs"]) for entry in await latest_audit_entries(store, 10)) == 100


@pytest.mark.parametrize(
    ("wanted", "counts", "after"),
    [
        ({"all": True}, (1, 1, 0, 0), State.CANCELLED),
        ({"state": "queued"}, (1, 0, 1, 0), State.PARKED),
    ],
)
async def test_a_job_that_changes_meanwhile_is_handled_by_its_new_state(
    api: CheckedApi,
    job_factory: JobFactory,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    *,
    wanted: dict[str, Any],
    counts: tuple[int, int, int, int],
    after: State,
) -> None:
    await job_factory.queued()
    commit, raced = JobStore.commit, False

    async def late(self: JobStore, old: VersionedJob, new: Job, *extra: Any) -> Any:
        nonlocal raced
        if not raced:
            raced = True
            await Actions(store, job_factory.clock).act(
                JobAction.PARK, "job", Actor("somebody else")
            )
        return await commit(self, old, new, *extra)

    monkeypatch.setattr(JobStore, "commit", late)
    assert some(await bulk(api, "cancel", wanted)) == counts
    assert (await states(store))["job"] is after


async def test_a_run_that_parks_while_it_is_being_cancelled_is_cancelled_and_counted_once(
    api: CheckedApi, job_factory: JobFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job_factory.running()
    commit = JobStore.commit

    async def early(self: JobStore, old: VersionedJob, new: Job, *extra: Any) -> Any:
        written = await commit(self, old, new, *extra)
        if new.state is State.CANCELLING:
            now = job_factory.clock.now()
            await job_factory.transition(
                "job", lambda job: transitions.park_uncertain(job, now, why="connection lost")
            )
        return written

    monkeypatch.setattr(JobStore, "commit", early)
    assert some(await bulk(api, "cancel", {"all": True})) == (1, 1, 0, 0)
    assert (await states(store))["job"] is State.CANCELLED


async def test_a_run_that_fails_while_others_are_cancelled_does_not_slip_by(
    api: CheckedApi, job_factory: JobFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job_factory.running()
    page = JobQueries.page

    async def late(self: JobQueries, wanted: Filter, *where: Any) -> Page:
        if wanted.state is State.RUNNING:
            now, fault = (
                job_factory.clock.now(),
                ProviderError("EXECUTION_FAILED", "no luck", http_status=500),
            )
            await job_factory.transition(
                "job", lambda job: transitions.retry(job, now, fault, due_at=now + 60)
            )
        return await page(self, wanted, *where)

    monkeypatch.setattr(JobQueries, "page", late)
    assert some(await bulk(api, "cancel", {"all": True})) == (1, 1, 0, 0)
    assert (await states(store))["job"] is State.CANCELLED


# Edited inputs.


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        # RFC 7396, appendix A, as far as a patch is an object.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
    ],
)
def test_a_merge_patch_is_the_rfc_s(target: object, patch: object, merged: object) -> None:
    before = msgspec.json.encode([target, patch])
    assert apply_merge_patch(target, patch) == merged
    assert msgspec.json.encode([target, patch]) == before


async def test_a_patch_edits_the_inputs_of_each_job(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.dead("a")
    await job_factory.dead("b")
    counts = await bulk(api, "requeue", {"ids": ["a"]}, patch_inputs={"z": 1, "prompt": None})
    assert some(counts) == (1, 1, 0, 0)
    assert (await store.payloads.read("a")).inputs == b'{"z":1}'
    await bulk(api, "requeue", {"all": True}, patch_inputs={"a": {"y": 2, "x": None}})
    assert (await store.payloads.read("b")).inputs == b'{"a":{"y":2},"prompt":"a cat"}'
    assert set((await states(store)).values()) == {State.QUEUED}


async def test_a_job_that_a_patch_does_not_fit_harms_no_other(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    for job_id in ("a", "b", "c"):
        await job_factory.dead(job_id)
    most = 1 << 20
    large = b'{"x":"' + b"x" * (most - 40) + b'"}'
    await store.client.call("HSET", store.keys.job("a"), "inputs", large)
    await store.client.call("HSET", store.keys.job("b"), "inputs", b"[1]")
    counts = await bulk(api, "requeue", {"all": True}, patch_inputs={"y": "y" * 100})
    assert some(counts) == (3, 1, 0, 2)
    errors = {error["id"]: error["detail"] for error in counts["errors"]}
    assert "KNOUDS_MAX_INPUTS_BYTES" in errors["a"]
    assert "not a JSON object" in errors["b"]
    assert "xxx" not in str(errors)
    assert await states(store) == {"a": State.DEAD, "b": State.DEAD, "c": State.QUEUED}
    assert (await store.payloads.read("a")).inputs == large


async def test_the_first_twenty_errors_are_returned(api: CheckedApi) -> None:
    counts = await bulk(api, "requeue", {"ids": [f"none-{n}" for n in range(30)]})
    assert (counts["failed"], len(counts["errors"])) == (30, 20)


async def test_requeued_jobs_keep_their_order_of_age(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    names = [f"j{n}" for n in range(70)]
    for name in names:
        await job_factory.dead(name)
    await bulk(api, "requeue", {"all": True})
    (lane,) = (await store.lanes.snapshot()).lanes
    assert await store.jobs.members(Index.LANE, str(lane), 100) == names


# Holds.


async def test_a_release_frees_through_the_hold_which_lets_one_canary_through(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    hold = await place_hold(job_factory)
    for n in range(5):
        await job_factory.held(f"j{n}", hold)
    await job_factory.uncertain("u")
    await job_factory.held("other")
    counts = await bulk(api, "release", {"all": True}, note="topped up")
    assert some(counts) == (7, 6, 1, 0)
    assert counts["holds_released"] == 1
    (why,) = counts["skipped_why"]
    assert "resolve it" in why
    (opened,) = await store.holds.list_all()
    assert (opened.phase, opened.step, opened.note) == (HoldPhase.OPENING, 1, "topped up")
    assert not [job for _, job in (await records(store)).values() if job.bypass_hold]
    (entry,) = await latest_audit_entries(store, 10)
    assert entry["jobs"] == "6"
    await assert_indexes_match(store)


async def test_named_jobs_of_a_hold_are_counted_once(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    hold = await place_hold(job_factory)
    for n in range(3):
        await job_factory.held(f"j{n}", hold)
    for dry_run in (True, False):
        counts = await bulk(api, "release", {"ids": ["j0", "j1", "j2"]}, dry_run=dry_run)
        assert some(counts) == (3, 3, 0, 0)
    assert set((await states(store)).values()) == {State.QUEUED}


@pytest.mark.parametrize(
    ("wanted", "freed"),
    [
        ({"code": NO_CREDITS.display_code}, True),
        ({"code": NO_CREDITS.display_code, "account": "default"}, True),
        ({"batch": "b"}, False),
        ({"kind": "model", "target": "gpt-image-2"}, False),
        ({"ids": ["a", "b"]}, False),
        ({"ids": ["a"]}, False),
        ({"code": "OTHER"}, None),
    ],
)
async def test_a_hold_that_keeps_more_waiting_than_is_meant_is_left_alone_with_its_jobs(
    api: CheckedApi,
    job_factory: JobFactory,
    store: Store,
    *,
    wanted: dict[str, Any],
    freed: bool | None,
) -> None:
    hold = await place_hold(job_factory)
    await job_factory.held("a", hold, batch="b")
    await job_factory.held("b", hold, batch="b")
    await job_factory.queued("waits behind it", target="suno")
    before = await records(store)
    counts = await bulk(api, "release", wanted)
    (now,) = await store.holds.list_all()
    if freed:
        assert (counts["done"], counts["holds_released"], now.phase) == (2, 1, HoldPhase.OPENING)
        return
    assert (counts["done"], counts["holds_released"]) == (0, 0)
    assert now == hold
    assert await records(store) == before
    if freed is False:
        (why,) = counts["skipped_why"]
        assert hold.id in why


async def test_a_hold_whose_waiting_jobs_are_all_meant_is_released(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    hold = await place_hold(job_factory)
    await job_factory.held("a", hold, batch="b")
    await job_factory.queued("behind", batch="b")
    counts = await bulk(api, "release", {"batch": "b"})
    assert (some(counts), counts["holds_released"]) == ((1, 1, 0, 0), 1)
    assert (await states(store))["a"] is State.QUEUED


async def test_a_limit_below_what_a_hold_parked_leaves_it_closed(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    hold = await place_hold(job_factory)
    for n in range(3):
        await job_factory.held(f"j{n}", hold)
    counts = await bulk(api, "release", {"all": True}, limit=2)
    assert some(counts) == (3, 0, 3, 0)
    assert await store.holds.list_all() == [hold]


async def test_jobs_of_no_active_hold_are_queued_and_wait_at_closed_gates(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    actions, actor = Actions(store, job_factory.clock), Actor("p")
    for n in range(3):
        await job_factory.queued(f"j{n}")
        await actions.act(JobAction.PARK, f"j{n}", actor)
    pause = await actions.place_hold(Scope("default"), actor)
    gone = Reason(code=NO_CREDITS.display_code, http_status=402, hold_id="hold-gone")
    await job_factory.held("l", pause)
    await job_factory.submitting("k")
    await job_factory.transition(
        "k", lambda job: transitions.park_refused(job, job_factory.clock.now(), NO_CREDITS, gone)
    )
    counts = await bulk(api, "release", {"all": True})
    assert (some(counts), counts["holds_released"]) == ((5, 5, 0, 0), 0)
    assert await store.holds.list_all() == [pause]
    assert (await store.lanes.snapshot()).bypass_count == 0
    assert set((await states(store)).values()) == {State.QUEUED}


# Many.


@pytest.mark.parametrize("action", ["requeue", "discard", "cancel"])
async def test_two_thousand_jobs_are_done_in_one_call(
    api: CheckedApi, job_factory: JobFactory, store: Store, action: str
) -> None:
    make = job_factory.queued if action == "cancel" else job_factory.dead
    names = [f"j{n:04}" for n in range(2_000)]
    for first in range(0, len(names), 50):
        await asyncio.gather(*(make(name) for name in names[first : first + 50]))
    counts = await bulk(api, action, {"all": True})
    assert some(counts) == (2_000, 2_000, 0, 0)
    wanted = State.QUEUED if action == "requeue" else State.CANCELLED
    assert set((await states(store)).values()) == {wanted}
    (entry,) = await latest_audit_entries(store, 10)
    assert entry["jobs"] == "2000"


async def test_two_thousand_jobs_behind_a_hold_are_freed_by_it(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    hold = await place_hold(job_factory)
    names = [JobId(f"j{n:04}") for n in range(2_000)]
    for first in range(0, len(names), 50):
        await asyncio.gather(*(job_factory.held(name, hold) for name in names[first : first + 50]))
    counts = await bulk(api, "release", {"code": NO_CREDITS.display_code})
    assert (some(counts), counts["holds_released"]) == ((2_000, 2_000, 0, 0), 1)
    assert (await store.holds.list_all())[0].step == 1


@pytest.mark.parametrize("before", PREPARE)
@pytest.mark.parametrize("action", ACTIONS)
async def test_a_bulk_of_one_does_what_the_single_action_does(
    api: CheckedApi, job_factory: JobFactory, *, action: str, before: str
) -> None:
    await PREPARE[before](job_factory)
    preview = await bulk(api, action, {"ids": ["job"]}, dry_run=True)
    reply = await api.post(f"/v1/jobs/job/{action}")
    assert (preview["done"] == 1) is (reply.status == 200)


async def test_a_dry_run_names_the_jobs_on_request(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    hold = await place_hold(job_factory)
    for name in ("a", "b"):
        await job_factory.held(name, hold)
    await job_factory.dead("c")
    dry = await bulk(api, "discard", {"state": "parked"}, dry_run=True, list_ids=True)
    assert sorted(dry["ids"]) == ["a", "b"]
    dry = await bulk(api, "release", {"all": True}, dry_run=True, list_ids=True)
    assert (sorted(dry["ids"]), dry["holds_released"]) == (["a", "b"], 1)
    assert "ids" not in await bulk(api, "discard", {"state": "parked"}, dry_run=True)
    reply = await api.post("/v1/bulk/discard", {"filter": {"ids": ["a"]}, "list_ids": True})
    assert (reply.status, reply.field) == (422, "list_ids")
