"""Lost answers, unreadable answers, runs that go wrong, and how a fault is aimed."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.sandbox.sandbox_http_client import SandboxHttpClient


@pytest.mark.parametrize(("fault", "started"), [("drop_before", 0), ("drop_after", 1)])
async def test_a_connection_is_lost_before_or_after_the_start(
    desk: SandboxHttpClient, fault: str, started: int
) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await desk.submit(fault=fault, label="x")
    entry = await desk.label("x")
    assert (entry["posts"], entry["started"], entry["charged"]) == (1, started, started)
    assert (await desk.admin_get("ledger"))["requests"]["run.model"] == {"dropped": 1}


@pytest.mark.parametrize(("fault", "started"), [("hang_before", 0), ("hang", 1)])
async def test_an_answer_never_comes(desk: SandboxHttpClient, fault: str, started: int) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(desk.submit(fault=fault, label="x"), 0.05)
    assert (await desk.label("x"))["started"] == started


@pytest.mark.parametrize("fault", ["truncated_json", "html_200", "empty_body"])
@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_an_unreadable_success_has_started_a_run(
    desk: SandboxHttpClient, fault: str, mode: str
) -> None:
    got = await desk.submit(fault=fault, mode=mode, label="x", duration_s=0)
    assert (got.status, got.json) == (200, None)
    assert (await desk.label("x"))["charged"] == 1


@pytest.mark.parametrize(("asked", "started"), [({}, 0), ({"started": True}, 1)])
async def test_a_proxys_error_tells_nothing_of_what_happened(
    desk: SandboxHttpClient, asked: dict[str, Any], started: int
) -> None:
    got = await desk.submit(fault="html_504", label="x", **asked)
    assert got.status == 504
    assert (await desk.label("x"))["started"] == started


async def test_a_slow_answer_comes_after_its_delay(desk: SandboxHttpClient) -> None:
    answer = asyncio.create_task(desk.submit(fault="slow", delay_s=3))
    done, _ = await asyncio.wait({answer}, timeout=0.03)
    assert not done
    desk.clock.advance(3)
    assert (await answer).status == 200


async def test_an_async_submit_may_get_a_finished_sync_answer(desk: SandboxHttpClient) -> None:
    got = await desk.submit(fault="sync_answer", label="x")
    assert (got.status, got.json["success"]) == (200, True)
    assert "_async" not in got.json
    assert (await desk.label("x"))["charged"] == 1


async def test_an_acceptance_may_be_a_202_or_lack_its_id(desk: SandboxHttpClient) -> None:
    accepted = await desk.submit(fault="accepted_202")
    assert (accepted.status, accepted.json["_async"]) == (202, True)
    nameless = await desk.submit(fault="id_missing", label="x")
    assert nameless.json["_async"] is True
    assert "executionId" not in nameless.json
    assert (await desk.label("x"))["started"] == 1


async def test_a_stuck_run_never_ends_unless_an_admin_ends_it(desk: SandboxHttpClient) -> None:
    run = await desk.start(fault="stuck", label="x")
    desk.clock.advance(1_000_000)
    assert (await desk.poll(run)).json["status"] == "processing"
    assert (await desk.admin_post("finish", label="x"))["finished"] == [run]
    assert (await desk.poll(run)).json["status"] == "completed"


@pytest.mark.parametrize("code", ["EXECUTION_FAILED", "SOMETHING_NEW"])
async def test_a_failure_may_be_an_object_or_a_text_with_the_code_beside(
    desk: SandboxHttpClient, code: str
) -> None:
    told: dict[str, Any] = {"fault": "fails", "code": code, "message": "no luck", "duration_s": 0}
    first = await desk.poll(await desk.start(**told))
    assert first.json["status"] == "failed"
    assert first.json["error"] == {"code": code, "message": "no luck"}
    second = await desk.poll(await desk.start(**told, error="string"))
    assert (second.json["error"], second.json["code"]) == ("no luck", code)


async def test_a_completed_run_may_have_no_usable_result(desk: SandboxHttpClient) -> None:
    bare = await desk.poll(await desk.start(fault="no_result", duration_s=0))
    assert bare.json["status"] == "completed"
    assert "result" not in bare.json
    empty = await desk.poll(await desk.start(fault="no_result", result={}, duration_s=0))
    assert empty.json["result"] == {}


async def test_a_poll_may_report_a_status_nobody_knows(desk: SandboxHttpClient) -> None:
    run = await desk.start(poll={"fault": "status_unknown", "times": 1})
    assert (await desk.poll(run)).json["status"] == "queued_somewhere"
    assert (await desk.poll(run)).json["status"] == "processing"


async def test_the_first_polls_of_a_run_may_find_nothing(desk: SandboxHttpClient) -> None:
    run = await desk.start(fault="EXECUTION_NOT_FOUND", times=2, duration_s=0)
    answers = [await desk.poll(run) for _ in range(3)]
    assert [got.status for got in answers] == [404, 404, 200]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("HTTP_401", 401),
        ("CAPABILITY_DENIED", 403),
        ("RATE_LIMIT_EXCEEDED", 429),
        ("HTTP_500", 500),
        ("html_502", 502),
        ("HTTP_503", 503),
    ],
)
async def test_a_poll_may_be_refused(desk: SandboxHttpClient, fault: str, status: int) -> None:
    run = await desk.start(poll={"fault": fault, "times": 1}, duration_s=0)
    assert (await desk.poll(run)).status == status
    assert (await desk.poll(run)).json["status"] == "completed"


@pytest.mark.parametrize("fault", ["truncated_json", "html_200", "empty_body"])
async def test_a_poll_may_be_unreadable(desk: SandboxHttpClient, fault: str) -> None:
    run = await desk.start(poll={"fault": fault})
    got = await desk.poll(run)
    assert (got.status, got.json) == (200, None)


async def test_a_cancel_may_be_refused(desk: SandboxHttpClient) -> None:
    run = await desk.start(fault="cancel_refused")
    got = await desk.cancel(run)
    assert (got.status, got.code) == (409, "EXECUTION_NOT_CANCELLABLE")
    assert (await desk.poll(run)).json["status"] == "processing"


@pytest.mark.parametrize(
    ("fault", "status"), [("cancel_finished", "cancelled"), ("cancel_completed", "completed")]
)
async def test_the_run_may_finish_before_its_cancel(
    desk: SandboxHttpClient, fault: str, status: str
) -> None:
    run = await desk.start(cancel={"fault": fault}, cancel_s=1, duration_s=60)
    await desk.cancel(run)
    desk.clock.advance(1)
    got = await desk.poll(run)
    assert got.json["status"] == status
    assert got.json["result"]["audios"]


async def test_a_lost_cancel_may_have_taken_effect(desk: SandboxHttpClient) -> None:
    run = await desk.start(cancel={"fault": "drop_after"}, cancel_s=0, duration_s=60)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await desk.cancel(run)
    assert (await desk.poll(run)).json["status"] == "cancelled"


async def test_times_counts_the_submits_of_one_label(desk: SandboxHttpClient) -> None:
    told: dict[str, Any] = {"fault": "EXECUTION_FAILED", "times": 2}
    first = [(await desk.submit(label="a", **told)).status for _ in range(3)]
    other = (await desk.submit(label="b", **told)).status
    assert (first, other) == ([500, 500, 200], 500)
    entry = await desk.label("a")
    assert (entry["posts"], entry["faulted"], entry["started"]) == (3, 2, 1)


async def test_an_admins_fault_strikes_what_it_matches_until_it_is_spent(
    desk: SandboxHttpClient,
) -> None:
    await desk.admin_post("faults", match={"target": "suno"}, fault="INSUFFICIENT_CREDITS", times=1)
    assert (await desk.submit("gpt-image-2")).status == 200
    assert (await desk.submit("suno")).status == 402
    assert (await desk.submit("suno")).status == 200


async def test_a_fault_without_a_route_strikes_where_the_provider_would_send_it(
    desk: SandboxHttpClient,
) -> None:
    run = await desk.start()
    await desk.admin_post("faults", fault="INSUFFICIENT_CREDITS")
    assert (await desk.poll(run)).status == 200
    assert (await desk.submit()).status == 402
    await desk.call("DELETE", "/_sandbox/faults", key=None)
    await desk.admin_post("faults", fault="html_503")
    assert (await desk.poll(run)).status == 503
    assert (await desk.submit()).status == 503
    assert (await desk.call("GET", "/api/whoami")).status == 503
    assert (await desk.call("GET", "/api/workflows/my-pipeline/schema")).status == 503


async def test_faults_are_listed_and_taken_down_one_by_one(desk: SandboxHttpClient) -> None:
    first = await desk.admin_post("faults", match={"route": "poll"}, fault="HTTP_503")
    await desk.admin_post("faults", match={"kind": "workflow"}, fault="stuck")
    listed = (await desk.admin_get("state"))["faults"]
    assert [(f["fault"], f["match"]) for f in listed] == [
        ("HTTP_503", {"route": "poll"}),
        ("stuck", {"kind": "workflow"}),
    ]
    got = await desk.call("DELETE", f"/_sandbox/faults?id={first['id']}", key=None)
    assert got.json == {"cleared": 1}
    assert len((await desk.admin_get("state"))["faults"]) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b'{"fault": "NO_SUCH_FAULT"}',
        b'{"match": {"route": "poll"}, "fault": "stuck"}',
        b'{"match": {"route": "nowhere"}, "fault": "HTTP_503"}',
        b'{"match": {"rout": "poll"}, "fault": "HTTP_503"}',
        b"{}",
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused_with_the_reason(
    desk: SandboxHttpClient, raw: bytes
) -> None:
    got = await desk.call("POST", "/_sandbox/faults", key=None, data=raw)
    assert got.status == 400
    assert got.json["error"]
