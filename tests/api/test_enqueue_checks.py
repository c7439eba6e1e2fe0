"""Enqueues are compared with the provider's workflows: warnings by default, refusals by setting."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from config.settings import Settings
from jobs.lanes import Lane
from jobs.requests import JobRequest
from jobs.states import Kind, State
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.job_factory import TAKES, JobFactory
from tests.simulation.manual_clock import ManualClock
from worker.app.arq_ingress import ArqIngress
from worker.app.enqueue_checks import FACTS_TTL_S, MAX_LANES
from worker.compose.app import build_enqueue_checks, build_enqueuer
from worker.store import Store
from worker.store.workflows import FACTS_MAX_AGE_S

SHOTS: Final[dict[str, Any]] = {"kind": "workflow", "target": "shots"}


@pytest.fixture
async def strict(open_api: OpenApi, store: Store, settings: Settings) -> AsyncGenerator[CheckedApi]:
    refusing = settings.model_copy(update={"enqueue_checks": "refuse"})
    async with open_api(store, refusing) as api:
        yield api


@pytest.fixture
async def listed(job_factory: JobFactory) -> None:
    await job_factory.list_workflows()


def warned(job: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["code"], one["field"]) for one in job["warnings"]]


@pytest.mark.usefixtures("listed")
async def test_an_answer_has_the_estimate_and_no_warnings_where_all_is_right(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    reply = await api.enqueue(**SHOTS, inputs={"image": "x"})
    assert (reply.status, reply.json["est_cost"]) == (202, 16.0)
    assert "warnings" not in reply.json
    assert "est_cost" not in await api.job(reply.json["id"]), "a job has its cost, no estimate"
    await job_factory.ran("model/suno", cost=10.0)
    assert (await api.enqueue(target="suno")).json["est_cost"] == 10.0
    assert (await api.enqueue(target="gpt-image-2")).json["est_cost"] is None, "it never ran"


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("target", "inputs", "expected"),
    [
        ("shot", {}, [("workflow_not_found", "target")]),
        ("old", {}, [("workflow_archived", "target")]),
        ("shots", {"prompt": "x"}, [("missing_field", "inputs.image")]),
        ("shots", {"image": 1, "imgae": 2}, [("unknown_field", "inputs.imgae")]),
    ],
)
async def test_what_differs_is_a_warning_that_names_the_field(
    api: CheckedApi, target: str, inputs: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    request = {"kind": "workflow", "target": target, "inputs": inputs}
    reply = await api.enqueue(**request, id="j1")
    assert reply.status == 202
    assert warned(reply.json) == expected
    assert reply.json["warnings"][0]["message"].startswith(f"{expected[0][1]} ")
    again = await api.enqueue(**request, id="j1")
    assert (again.status, warned(again.json)) == (200, expected)
    (row,) = (await api.post("/v1/jobs/bulk", {"jobs": [request]})).json["results"]
    assert (row["status"], warned(row)) == (202, expected)
    preview = await api.post("/v1/jobs/dry-run", request)
    assert (preview.status, warned(preview.json)) == (200, expected)


async def test_of_a_workflow_that_is_gone_its_last_schema_says_nothing(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await store.workflows.write_schema("default", "gone", TAKES, job_factory.clock.now())
    await job_factory.list_workflows()
    reply = await api.enqueue(kind="workflow", target="gone", inputs={})
    assert warned(reply.json) == [("workflow_not_found", "target")]


@pytest.mark.usefixtures("listed")
async def test_a_dry_run_enqueues_nothing(api: CheckedApi, store: Store) -> None:
    reply = await api.post("/v1/jobs/dry-run", {**SHOTS, "inputs": {"image": "x"}})
    assert reply.json == {
        "kind": "workflow",
        "target": "shots",
        "account": "default",
        "est_cost": 16.0,
        "warnings": [],
    }
    counts, _ = await store.read.queries.state_counts()
    assert not any(counts.values())
    bad = await api.post("/v1/jobs/dry-run", {**SHOTS, "inputs": []})
    assert (bad.status, bad.field) == (422, "inputs")


@pytest.mark.usefixtures("listed")
async def test_by_setting_it_is_refused_with_the_field_and_the_fix(strict: CheckedApi) -> None:
    for target, inputs, field, fix in (
        ("shot", {}, "target", "check the slug"),
        ("old", {}, "target", "restore"),
        ("shots", {}, "inputs.image", "is missing"),
        ("shots", {"image": "x", "y": 1}, "inputs.y", "it takes image, prompt"),
    ):
        request = {"kind": "workflow", "target": target, "inputs": inputs}
        reply = await strict.post("/v1/jobs", request)
        assert (reply.status, reply.field) == (422, field)
        assert fix in reply.detail
        assert (await strict.post("/v1/jobs/dry-run", request)).status == 422
        good = {**SHOTS, "inputs": {"image": "x"}}
        rows = (await strict.post("/v1/jobs/bulk", {"jobs": [request, good]})).json["results"]
        assert [row["status"] for row in rows] == [422, 202]
        assert rows[0]["error"]["field"] == field


async def test_a_request_that_was_taken_before_is_not_refused_now(
    strict: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    """Its job is there: an app that repeats the call must learn so."""
    old: dict[str, Any] = {"kind": "workflow", "target": "gone", "inputs": {}}
    stored = await build_enqueuer(
        Settings(namespace=store.keys.namespace), store, job_factory.clock
    ).enqueue(JobRequest(kind=Kind.WORKFLOW, target="gone", inputs=b"{}"), job_id="j1")
    await job_factory.list_workflows()
    reply = await strict.enqueue(**old, id="j1")
    assert (reply.status, reply.json["id"]) == (200, stored.job.id)
    assert (await strict.post("/v1/jobs", {**old, "id": "j2"})).status == 422


@pytest.mark.parametrize("mode", ["warn", "refuse"])
async def test_what_is_unknown_or_too_old_is_never_wrong(
    open_api: OpenApi, store: Store, settings: Settings, job_factory: JobFactory, mode: str
) -> None:
    request: dict[str, Any] = {**SHOTS, "target": "shot", "inputs": {}}
    async with open_api(store, settings.model_copy(update={"enqueue_checks": mode})) as api:
        reply = await api.enqueue(**request)
        assert reply.status == 202, "no worker has read a list yet"
        assert "warnings" not in reply.json
    await job_factory.list_workflows(complete=False)
    async with open_api(store, settings.model_copy(update={"enqueue_checks": mode})) as api:
        reply = await api.enqueue(**request)
        assert (reply.status, "warnings" in reply.json) == (202, False), "the list has gaps"
    await job_factory.list_workflows(at=job_factory.clock.now() - FACTS_MAX_AGE_S - 1)
    async with open_api(store, settings.model_copy(update={"enqueue_checks": mode})) as api:
        for target in ("shot", "shots"):
            reply = await api.enqueue(**request | {"target": target})
            assert (reply.status, reply.json["est_cost"]) == (202, None)
            assert "warnings" not in reply.json


@pytest.mark.usefixtures("listed")
async def test_nothing_is_compared_where_that_is_switched_off(
    open_api: OpenApi, store: Store, settings: Settings
) -> None:
    off = settings.model_copy(update={"enqueue_checks": "off", "default_estimate": 20.0})
    async with open_api(store, off) as api:
        reply = await api.enqueue(**SHOTS, inputs={})
        assert "warnings" not in reply.json
        assert reply.json["est_cost"] == 20.0, "the default is the least"
        assert (await api.enqueue(**REQUEST)).json["est_cost"] == 20.0


@pytest.mark.usefixtures("listed")
async def test_changed_inputs_of_a_requeue_are_compared(
    api: CheckedApi, strict: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.dead("d1", kind=Kind.WORKFLOW, target="shots")
    refused = await strict.post("/v1/jobs/d1/requeue", {"inputs": {"y": 1}})
    assert (refused.status, refused.field) == (422, "inputs.image")
    assert (await api.job("d1"))["state"] == "dead"
    body: dict[str, Any] = {
        "filter": {"all": True},
        "patch_inputs": {"image": "x"},
        "dry_run": True,
    }
    done = (await api.post("/v1/bulk/requeue", body)).json
    # Its inputs have a prompt.
    assert (done["done"], "warnings" in done) == (1, False)
    body["patch_inputs"] = {"y": 1}
    done = (await api.post("/v1/bulk/requeue", body)).json
    assert [(one["code"], one["field"], one["jobs"]) for one in done["warnings"]] == [
        ("missing_field", "inputs.image", 1),
        ("unknown_field", "inputs.y", 1),
    ]
    failed = (await strict.post("/v1/bulk/requeue", body)).json
    assert (failed["failed"], failed["errors"][0]["detail"].split()[0]) == (1, "inputs.image")
    reply = await api.post("/v1/jobs/d1/requeue", {"inputs": {"y": 1}})
    assert (reply.status, reply.json["state"]) == (200, "queued")
    assert warned(reply.json) == [("missing_field", "inputs.image"), ("unknown_field", "inputs.y")]


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("mode", ["warn", "refuse"])
async def test_a_job_from_plain_arq_is_warned_about_in_the_log_or_becomes_a_dead_letter(
    store: Store,
    settings: Settings,
    job_factory: JobFactory,
    capsys: pytest.CaptureFixture[str],
    mode: str,
) -> None:
    enqueuer = build_enqueuer(
        settings.model_copy(update={"enqueue_checks": mode}), store, job_factory.clock
    )
    ingress = ArqIngress(enqueuer, store, job_factory.clock, settings.max_inputs_bytes)
    inputs = {"a private name": 1}
    await ingress.adopt(Kind.WORKFLOW, "shots", inputs, "mine", {})
    stored = await store.jobs.load("mine")
    assert stored is not None
    log = capsys.readouterr().out
    assert "private" not in log
    if mode == "warn":
        assert stored.job.state is State.QUEUED
        assert "missing_field" in log
        return
    assert stored.job.state is State.DEAD
    assert stored.job.reason is not None
    assert stored.job.reason.message.startswith("inputs.image: is missing")


async def test_facts_are_read_once_for_many_requests(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, reads = ManualClock(), count_reads(store, monkeypatch)
    checks = build_enqueue_checks(settings, store, clock)
    lanes = [Lane("default", Kind.WORKFLOW, f"w{n}") for n in range(50)]
    for _ in range(10):
        await checks.load(lanes)
        for lane in lanes:
            await checks.preview(lane, b"{}")
    assert len(reads) == 1
    assert reads[0] <= 6, "one command a fact and account, not one a lane"
    clock.pass_time(FACTS_TTL_S)
    await checks.preview(lanes[0], b"{}")
    assert len(reads) == 2


async def test_the_lanes_that_are_remembered_are_bounded(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(store, monkeypatch)
    checks = build_enqueue_checks(settings, store, ManualClock())
    lanes = [Lane("default", Kind.MODEL, f"m{n}") for n in range(MAX_LANES + 1)]
    await checks.load(lanes)
    await checks.load(lanes[1:])
    assert len(reads) == 1
    await checks.load(lanes[:1])
    assert len(reads) == 2, "the one used first is forgotten"


async def test_without_redis_nothing_is_known_and_nothing_is_refused(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(commands: Any) -> list[Any]:
        raise ConnectionError(len(commands))

    refusing = settings.model_copy(update={"enqueue_checks": "refuse"})
    checks = build_enqueue_checks(refusing, store, ManualClock())
    monkeypatch.setattr(store.client, "many", away)
    found = await checks.preview(Lane("default", Kind.WORKFLOW, "w"), b"{}")
    assert (found.est_cost, found.warnings) == (None, ())


def count_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of commands in each round trip from now on."""
    reads, read = list[int](), store.client.many

    async def counted(commands: Any) -> list[Any]:
        reads.append(len(commands))
        return await read(commands)

    monkeypatch.setattr(store.client, "many", counted)
    return reads
