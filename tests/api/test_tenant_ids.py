"""What a token of a tenant is answered names jobs as the tenant does, and none of another one."""

import re
from typing import Any, Final

import msgspec
import pytest

from jobs.job import JOB_SCHEMA
from jobs.tenants import app_job_id, tenant_job_id, tenant_of
from tests.api.checked_api import REQUEST, ApiReply, CheckedApi
from tests.api.job_factory import JobFactory
from tests.api.token_entries import bearer
from tests.unit.core.test_schedule_due import a_schedule
from worker.api.auth.principal import Visibility
from worker.compose.api import ENDPOINTS
from worker.store import Store

TOKENS: Final = ("red-app", "red-own", "red-ops")
STATES: Final = ("queued", "submitting", "running", "succeeded", "retrying", "dead", "held")
UNKNOWN: Final = ("missing", "blue~theirs", "red~queued", "theirs")

BODIES: Final[dict[str, list[dict[str, Any]]]] = {
    "/v1/jobs": [REQUEST | {"id": "queued"}, REQUEST | {"id": "queued", "tags": ["new"]}],
    "/v1/jobs/bulk": [
        {"jobs": [REQUEST | {"id": "queued"}, REQUEST | {"id": "queued", "tags": ["new"]}, {}]}
    ],
    "/v1/jobs/{id}/resolve": [
        {"execution_id": "exec-blue-theirs"},
        {"execution_id": "exec-red-succeeded"},
        {"outcome": "discard"},
    ],
    "/v1/schedules/{name}": [{"cron": "0 3 * * *", "job": REQUEST}],
}
BULK: Final = [{"filter": {"ids": [*STATES, *UNKNOWN]}}, {"filter": {"all": True}, "dry_run": True}]


def refuse_stored_ids(reply: ApiReply, what: str) -> None:
    shown = reply.body + repr(reply.headers).encode()
    for given in UNKNOWN:  # a caller's own words come back as they were
        shown = shown.replace(f"'{given}'".encode(), b"").replace(f'"{given}"'.encode(), b"")
    assert b"red~" not in shown, (what, reply.body, reply.headers)
    assert b"theirs" not in shown, (what, reply.body, reply.headers)


@pytest.fixture
async def jobs(job_factory: JobFactory, store: Store) -> None:
    for state in STATES:
        await getattr(job_factory, state)(f"red~{state}")
    await job_factory.running("blue~theirs")
    await job_factory.uncertain("red~uncertain")
    newer = await job_factory.held("red~newer")
    record = msgspec.to_builtins(newer) | {"schema": JOB_SCHEMA + 1}
    await store.client.call("HSET", store.keys.job(newer.id), "rec", msgspec.json.encode(record))


@pytest.mark.usefixtures("jobs")
async def test_no_answer_of_any_route_names_a_stored_id(
    of_tenants: CheckedApi, store: Store
) -> None:
    schedule = a_schedule(name="red~nightly")
    await store.schedules.change(schedule.name, lambda _: schedule, b"{}")
    asked = 0
    for endpoint in ENDPOINTS:
        is_stream = endpoint.content_type == "text/event-stream"
        if endpoint.visibility is Visibility.SYSTEM or is_stream:
            continue
        bodies: list[Any] = BODIES.get(endpoint.path, BULK if "/bulk/" in endpoint.path else [{}])
        names = (*STATES, "uncertain", "newer", *UNKNOWN) if "{id}" in endpoint.path else ("",)
        names = ("nightly",) if "{name}" in endpoint.path else names
        query = "?timeout_s=0" if endpoint.path.endswith("/wait") else ""
        for token in TOKENS:
            for name in names:
                path = re.sub(r"\{\w+\}", name, endpoint.path) + query
                for body in bodies if endpoint.method != "GET" else [None]:
                    reply = await of_tenants.call(
                        endpoint.method,
                        path,
                        body=None if body is None else msgspec.json.encode(body),
                        headers=bearer(token) | {"Content-Type": "application/json"},
                    )
                    refuse_stored_ids(reply, f"{token} {endpoint.method} {path} {body}")
                    asked += reply.status != 403
    assert asked > 100


@pytest.mark.usefixtures("jobs")
async def test_errors_name_the_job_as_the_caller_does(
    of_tenants: CheckedApi, job_factory: JobFactory
) -> None:
    async def post(token: str, path: str, **body: object) -> ApiReply:
        return await of_tenants.post(path, body, headers=bearer(token))

    gone = await post("red-ops", "/v1/jobs/missing/cancel")
    assert (gone.status, gone.detail) == (404, "there is no job 'missing'")
    gone = await post("ops", "/v1/jobs/red~missing/cancel")
    assert (gone.status, gone.detail) == (404, "there is no job 'red~missing'")
    newer = await post("red-ops", "/v1/jobs/newer/cancel")
    assert newer.status == 409
    assert newer.detail.startswith("job newer was written by a newer version")
    for number, (token, prefix, run, owner) in enumerate(
        (
            ("ops", "red~", "red~succeeded", "red~succeeded"),
            ("ops", "red~", "blue~theirs", "blue~theirs"),
        )
    ):
        await job_factory.uncertain(f"red~u{number}")
        path = f"/v1/jobs/{prefix}u{number}/resolve"
        taken = await post(token, path, execution_id=f"exec-{run.replace('~', '-')}")
        assert taken.status == 409
        assert f"is the run of job {owner}:" in taken.detail
        assert taken.headers["Location"] == f"/v1/jobs/{owner}"


def test_an_id_is_split_at_its_first_mark() -> None:
    stored = tenant_job_id("red", "blue~a")
    assert (tenant_of(stored), app_job_id(stored)) == ("red", "blue~a")
