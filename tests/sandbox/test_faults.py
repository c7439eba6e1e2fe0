"""Lost answers, unreadable answers, runs that go wrong, and how a fault is aimed."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.sandbox.sandbox_http_client import SandboxHttpClient


@pytest.mark.parametrize(("fault", "started"), [("drop_before", 0), ("drop_after", 1)])
async def test_a_connection_is_lost_before_or_after_the_start(
    caller: SandboxHttpClient, fault: str, started: int
) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await caller.submit(fault=fault, label="x")
    entry = await caller.label("x")
    assert (entry["posts"], entry["started"], entry["charged"]) == (1, started, started)
    assert (await caller.admin_get("ledger"))["requests"]["run.model"] == {"dropped": 1}


@pytest.mark.parametrize(("fault", "started"), [("hang_before", 0), ("hang", 1)])
async def test_an_answer_never_comes(caller: SandboxHttpClient, fault: str, started: int) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.submit(fault=fault, label="x"), 0.05)
    assert (await caller.label("x"))["started"] == started


@pytest.mark.parametrize("fault", ["truncated_json", "html_200", "empty_body"])
@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_an_unreadable_success_has_started_a_run(
    caller: SandboxHttpClient, fault: str, mode: str
) -> None:
    got = await caller.submit(fault=fault, mode=mode, label="x", duration_s=0)
    assert (got.status, got.json) == (200, None)
    assert (await caller.label("x"))["charged"] == 1


@pytest.mark.parametrize(("options", "started"), [({}, 0), ({"started": True}, 1)])
async def test_a_proxys_error_tells_nothing_of_what_happened(
    caller: SandboxHttpClient, options: dict[str, Any], started: int
) -> None:
    got = await caller.submit(fault="html_504", label="x", **options)
    assert got.status == 504
    assert (await caller.label("x"))["started"] == started


async def test_a_slow_answer_comes_after_its_delay(caller: SandboxHttpClient) -> None:
    answer = asyncio.create_task(caller.submit(fault="slow", delay_s=3))
    done, _ = await asyncio.wait({answer}, timeout=0.03)
    assert not done
    caller.clock.advance(3)
    assert (await answer).status == 200


async def test_an_async_submit_may_get_a_finished_sync_answer(caller: SandboxHttpClient) -> None:
    got = await caller.submit(fault="sync_answer", label="x")
    assert (got.status, got.json["success"]) == (200, True)
    assert "_async" not in got.json
    assert (await caller.label("x"))["charged"] == 1


async def test_an_acceptance_may_be_a_202_or_lack_its_id(caller: SandboxHttpClient) -> None:
    accepted = await caller.submit(fault="accepted_202")
    assert (accepted.status, accepted.json["_async"]) == (202, True)
    nameless = await caller.submit(fault="id_missing", label="x")
    assert nameless.json["_async"] is True
    assert "executionId" not in nameless.json
    assert (await caller.label("x"))["started"] == 1


async def test_a_stuck_run_never_ends_unless_an_admin_ends_it(caller: SandboxHttpClient) -> None:
    run = await caller.start(fault="stuck", label="x")
    caller.clock.advance(1_000_000)
    assert (await caller.poll(run)).json["status"] == "processing"
    assert (await caller.admin_post("finish", label="x"))["finished"] == [run]
    assert (await caller.poll(run)).json["status"] == "completed"


@pytest.mark.parametrize("code", ["EXECUTION_FAILED", "SOMETHING_NEW"])
async def test_a_failure_may_be_an_object_or_a_text_with_the_code_beside(
    caller: SandboxHttpClient, code: str
) -> None:
    options: dict[str, Any] = {
        "fault": "fails",
        "code": code,
        "message": "no luck",
        "duration_s": 0,
    }
    first = await caller.poll(await caller.start(**options))
    assert first.json["status"] == "failed"
    assert first.json["error"] == {"code": code, "message": "no luck"}
    second = await caller.poll(await caller.start(**options, error="string"))
    assert (second.json["error"], second.json["code"]) == ("no luck", code)


async def test_a_completed_run_may_have_no_usable_result(caller: SandboxHttpClient) -> None:
    bare = await caller.poll(await caller.start(fault="no_result", duration_s=0))
    assert bare.json["status"] == "completed"
    assert "result" not in bare.json
    empty = await caller.poll(await caller.start(fault="no_result", result={}, duration_s=0))
    assert empty.json["result"] == {}


async def test_the_first_polls_of_a_completed_run_may_have_no_result(
    caller: SandboxHttpClient,
) -> None:
    run = await caller.start(poll={"fault": "no_result", "times": 2}, duration_s=0)
    answers = [(await caller.poll(run)).json for _ in range(3)]
    assert [got["status"] for got in answers] == ["completed"] * 3
    assert ["result" in got for got in answers] == [False, False, True]


async def test_polls_before_the_end_use_up_no_missing_result(caller: SandboxHttpClient) -> None:
    run = await caller.start(poll={"fault": "no_result", "times": 1, "result": {}})
    await caller.admin_post("faults", fault="no_result", match={"route": "poll"}, times=1)
    assert (await caller.poll(run)).json["status"] == "processing"
    await caller.admin_post("finish", execution_id=run)
    results = [(await caller.poll(run)).json.get("result", "absent") for _ in range(3)]
    assert results[:2] == ["absent", {}]
    assert results[2] not in ("absent", {})


async def test_a_poll_may_report_a_status_nobody_knows(caller: SandboxHttpClient) -> None:
    run = await caller.start(poll={"fault": "status_unknown", "times": 1})
    assert (await caller.poll(run)).json["status"] == "queued_somewhere"
    assert (await caller.poll(run)).json["status"] == "processing"


async def test_the_first_polls_of_a_run_may_find_nothing(caller: SandboxHttpClient) -> None:
    run = await caller.start(fault="EXECUTION_NOT_FOUND", times=2, duration_s=0)
    answers = [await caller.poll(run) for _ in range(3)]
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
async def test_a_poll_may_be_refused(caller: SandboxHttpClient, fault: str, status: int) -> None:
    run = await caller.start(poll={"fault": fault, "times": 1}, duration_s=0)
    assert (await caller.poll(run)).status == status
    assert (await caller.poll(run)).json["status"] == "completed"


@pytest.mark.parametrize("fault", ["truncated_json", "html_200", "empty_body"])
async def test_a_poll_may_be_unreadable(caller: SandboxHttpClient, fault: str) -> None:
    run = await caller.start(poll={"fault": fault})
    got = await caller.poll(run)
    assert (got.status, got.json) == (200, None)


async def test_a_cancel_may_be_refused(caller: SandboxHttpClient) -> None:
    run = await caller.start(fault="cancel_refused")
    got = await caller.cancel(run)
    assert (got.status, got.code) == (409, "EXECUTION_NOT_CANCELLABLE")
    assert (await caller.poll(run)).json["status"] == "processing"


@pytest.mark.parametrize(
    ("fault", "status"), [("cancel_finished", "cancelled"), ("cancel_completed", "completed")]
)
async def test_the_run_may_finish_before_its_cancel(
    caller: SandboxHttpClient, fault: str, status: str
) -> None:
    run = await caller.start(cancel={"fault": fault}, cancel_s=1, duration_s=60)
    await caller.cancel(run)
    caller.clock.advance(1)
    got = await caller.poll(run)
    assert got.json["status"] == status
    assert got.json["result"]["audios"]


async def test_a_lost_cancel_may_have_taken_effect(caller: SandboxHttpClient) -> None:
    run = await caller.start(cancel={"fault": "drop_after"}, cancel_s=0, duration_s=60)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await caller.cancel(run)
    assert (await caller.poll(run)).json["status"] == "cancelled"


async def test_times_counts_the_submits_of_one_label(caller: SandboxHttpClient) -> None:
    options: dict[str, Any] = {"fault": "EXECUTION_FAILED", "times": 2}
    first = [(await caller.submit(label="a", **options)).status for _ in range(3)]
    other = (await caller.submit(label="b", **options)).status
    assert (first, other) == ([500, 500, 200], 500)
    entry = await caller.label("a")
    assert (entry["posts"], entry["faulted"], entry["started"]) == (3, 2, 1)


async def test_an_admins_fault_strikes_what_it_matches_until_it_is_spent(
    caller: SandboxHttpClient,
) -> None:
    await caller.admin_post(
        "faults", match={"target": "suno"}, fault="INSUFFICIENT_CREDITS", times=1
    )
    assert (await caller.submit("gpt-image-2")).status == 200
    assert (await caller.submit("suno")).status == 402
    assert (await caller.submit("suno")).status == 200


async def test_a_fault_without_a_route_strikes_where_the_provider_would_send_it(
    caller: SandboxHttpClient,
) -> None:
    run = await caller.start()
    await caller.admin_post("faults", fault="INSUFFICIENT_CREDITS")
    assert (await caller.poll(run)).status == 200
    assert (await caller.submit()).status == 402
    await caller.call("DELETE", "/_sandbox/faults", key=None)
    await caller.admin_post("faults", fault="html_503")
    assert (await caller.poll(run)).status == 503
    assert (await caller.submit()).status == 503
    assert (await caller.call("GET", "/api/whoami")).status == 503
    assert (await caller.call("GET", "/api/workflows/my-pipeline/schema")).status == 503


async def test_faults_are_listed_and_taken_down_one_by_one(caller: SandboxHttpClient) -> None:
    first = await caller.admin_post("faults", match={"route": "poll"}, fault="HTTP_503")
    await caller.admin_post("faults", match={"kind": "workflow"}, fault="stuck")
    listed = (await caller.admin_get("state"))["faults"]
    assert [(f["fault"], f["match"]) for f in listed] == [
        ("HTTP_503", {"route": "poll"}),
        ("stuck", {"kind": "workflow"}),
    ]
    got = await caller.call("DELETE", f"/_sandbox/faults?id={first['id']}", key=None)
    assert got.json == {"cleared": 1}
    assert len((await caller.admin_get("state"))["faults"]) == 1


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
    caller: SandboxHttpClient, raw: bytes
) -> None:
    got = await caller.call("POST", "/_sandbox/faults", key=None, data=raw)
    assert got.status == 400
    assert got.json["error"]
