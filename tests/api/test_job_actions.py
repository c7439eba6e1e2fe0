"""Actions of operators: what each does, what it refuses and why, and that each is audited."""

from collections.abc import Awaitable, Callable

import pytest

from jobs.states import State
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.store import Store

Prepare = Callable[[JobFactory], Awaitable[object]]


PREPARE: dict[str, Prepare] = {
    "queued": lambda job_factory: job_factory.queued(),
    "submitting": lambda job_factory: job_factory.submitting(),
    "running": lambda job_factory: job_factory.running(),
    "retrying": lambda job_factory: job_factory.retrying(),
    "held": lambda job_factory: job_factory.held(),
    "uncertain": lambda job_factory: job_factory.uncertain(),
    "stuck": lambda job_factory: job_factory.stuck(),
    "dead": lambda job_factory: job_factory.dead(),
    "succeeded": lambda job_factory: job_factory.succeeded(),
}


@pytest.mark.parametrize(
    ("before", "action", "body", "after"),
    [
        ("queued", "cancel", None, State.CANCELLED),
        ("retrying", "cancel", {}, State.CANCELLED),
        ("running", "cancel", None, State.CANCELLING),
        ("held", "cancel", None, State.CANCELLED),
        ("stuck", "cancel", None, State.CANCELLING),
        ("queued", "park", None, State.PARKED),
        ("retrying", "park", None, State.PARKED),
        ("held", "release", None, State.QUEUED),
        ("stuck", "release", None, State.RUNNING),
        ("dead", "requeue", None, State.QUEUED),
        ("dead", "discard", None, State.CANCELLED),
        ("held", "discard", None, State.CANCELLED),
        ("uncertain", "resolve", {"execution_id": "exec-9"}, State.RUNNING),
        ("uncertain", "resolve", {"outcome": "resubmit"}, State.QUEUED),
        ("uncertain", "resolve", {"outcome": "discard"}, State.CANCELLED),
        ("stuck", "resolve", {"outcome": "resubmit"}, State.QUEUED),
    ],
)
async def test_an_action_answers_with_the_job_it_made(
    api: CheckedApi,
    job_factory: JobFactory,
    *,
    before: str,
    action: str,
    body: object,
    after: State,
) -> None:
    await PREPARE[before](job_factory)
    reply = await api.post(f"/v1/jobs/job/{action}", body)
    assert (reply.status, reply.json["state"]) == (200, after)
    assert reply.json["inputs"] == {"prompt": "a cat"}
    assert await api.job("job") == reply.json


@pytest.mark.parametrize(
    ("before", "action", "body", "hint"),
    [
        ("succeeded", "cancel", None, "cancel"),
        ("dead", "cancel", None, "discard or requeue"),
        ("running", "park", None, "park"),
        ("queued", "release", None, "release"),
        ("uncertain", "release", None, "resolve it"),
        ("held", "requeue", None, "requeue"),
        ("queued", "requeue", None, "requeue"),
        ("queued", "discard", None, "discard"),
        ("succeeded", "discard", None, "discard"),
        ("held", "resolve", {"outcome": "resubmit"}, "release it"),
        ("held", "resolve", {"execution_id": "e"}, "release it"),
        ("dead", "resolve", {"execution_id": "e"}, "attach"),
    ],
)
async def test_an_action_that_the_state_forbids_is_a_conflict_and_changes_nothing(
    api: CheckedApi, job_factory: JobFactory, *, before: str, action: str, body: object, hint: str
) -> None:
    await PREPARE[before](job_factory)
    job = await api.job("job")
    reply = await api.post(f"/v1/jobs/job/{action}", body)
    assert reply.status == 409
    assert reply.json["state"] == job["state"]
    assert hint in reply.detail
    assert await api.job("job") == job
    assert await latest_audit_entries(job_factory.store, 1) == []


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("cancel", None),
        ("park", None),
        ("release", None),
        ("requeue", None),
        ("discard", None),
        ("resolve", {"outcome": "discard"}),
    ],
)
async def test_an_action_on_no_job_is_404(api: CheckedApi, action: str, body: object) -> None:
    assert (await api.post(f"/v1/jobs/none/{action}", body)).status == 404


async def test_an_action_is_on_record_with_its_note(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.held()
    reply = await api.post("/v1/jobs/job/release", {"note": "topped up"})
    last = reply.json["events"][-1]
    assert (last["event"], last["by"], last["note"]) == ("release", "local", "topped up")
    (entry,) = await latest_audit_entries(store, 10)
    assert (entry["by"], entry["act"], entry["on"]) == ("local", "release", "job")
    assert (entry["note"], entry["jobs"]) == ("topped up", "1")


async def test_a_second_cancel_is_no_second_action(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.running()
    first = await api.post("/v1/jobs/job/cancel")
    second = await api.post("/v1/jobs/job/cancel")
    assert second.json == first.json
    assert len(await latest_audit_entries(store, 10)) == 1


async def test_a_requeue_may_bring_other_inputs(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.dead()
    reply = await api.post("/v1/jobs/job/requeue", {"inputs": {"z": 1, "a": 2}, "note": "fixed"})
    assert reply.json["inputs"] == {"a": 2, "z": 1}
    assert (await store.payloads.read("job")).inputs == b'{"a":2,"z":1}'


@pytest.mark.parametrize(
    ("action", "body", "field"),
    [
        ("requeue", {"inputs": []}, "inputs"),
        ("requeue", {"input": {}}, "input"),
        ("release", {"note": 1}, "note"),
        ("release", {"note": "x" * 1001}, "note"),
        ("release", {"why": "x"}, "why"),
        ("release", [], "body"),
        ("resolve", {}, "outcome"),
        ("resolve", None, "outcome"),
        ("resolve", {"outcome": "hope"}, "outcome"),
        ("resolve", {"execution_id": "e", "outcome": "discard"}, "outcome"),
        ("resolve", {"execution_id": "../x"}, "execution_id"),
        ("resolve", {"execution_id": ""}, "execution_id"),
    ],
)
async def test_a_wrong_body_is_named(
    api: CheckedApi, job_factory: JobFactory, action: str, body: object, field: str
) -> None:
    await job_factory.dead()
    reply = await api.post(f"/v1/jobs/job/{action}", body)
    assert (reply.status, reply.field) == (422, field)


async def test_a_requeue_over_the_limit_of_inputs_is_refused(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.dead()
    reply = await api.post("/v1/jobs/job/requeue", {"inputs": {"a": "x" * (1 << 20)}})
    assert (reply.status, reply.field) == (422, "inputs")


async def test_an_attached_execution_is_watched(api: CheckedApi, job_factory: JobFactory) -> None:
    await job_factory.uncertain()
    job = (await api.post("/v1/jobs/job/resolve", {"execution_id": "exec-9"})).json
    assert (job["execution_id"], job["mode"], job["reason"]) == ("exec-9", "async", None)


async def test_the_run_of_another_job_cannot_be_attached(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    for job_id in ("j1", "j2"):
        await job_factory.uncertain(job_id)
    attached = await api.post("/v1/jobs/j1/resolve", {"execution_id": "exec-9"})
    assert attached.status == 200
    refused = await api.post("/v1/jobs/j2/resolve", {"execution_id": "exec-9"})
    assert (refused.status, refused.headers["Location"]) == (409, "/v1/jobs/j1")
    assert "execution exec-9 is the run of job j1" in refused.detail
    assert refused.json["field"] == "execution_id"
    assert (await api.job("j2"))["state"] == "parked"
