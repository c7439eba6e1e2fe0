"""`GET /api/usage` lists every API run of the account as documented, and plays its faults."""

from typing import Any

import aiohttp
import pytest

from tests.sandbox.sandbox_http_client import SandboxHttpClient


async def rows_of(caller: SandboxHttpClient, query: str = "", **kwargs: Any) -> list[Any]:
    got = await caller.call("GET", f"/api/usage{query}", **kwargs)
    assert got.status == 200, got.raw
    rows: list[Any] = got.json["rows"]
    return rows


async def test_a_row_has_the_documented_members(caller: SandboxHttpClient) -> None:
    """The row of an async run is there at once; its end fills in duration and credits."""
    execution_id = await caller.start("gpt-image-2", duration_s=5)
    (row,) = await rows_of(caller)
    assert row["status"] == "processing"
    assert row["durationMs"] is None
    caller.clock.advance(6)
    polled = (await caller.poll(execution_id)).json
    (row,) = await rows_of(caller)
    assert row == {
        "id": 1,
        "userId": "user_sandbox",
        "workflowSlug": None,
        "modelIds": ["gpt-image-2"],
        "status": "completed",
        "source": "api-slim",
        "cost": row["cost"],
        "userCost": 0.008,
        "creditsCost": 8,
        "durationMs": 5000,
        "errorCode": None,
        "requestId": polled["requestId"],
        "createdAt": row["createdAt"],
    }


async def test_sync_failed_and_workflow_runs_have_rows_and_refused_ones_have_none(
    caller: SandboxHttpClient,
) -> None:
    await caller.start("my-pipeline", kind="workflows", duration_s=1)
    await caller.submit("suno", fault="INSUFFICIENT_CREDITS")
    await caller.start("suno", fault="fails", code="EXECUTION_FAILED", duration_s=0)
    await caller.submit("claude-sonnet", mode="sync", duration_s=0)
    newest_first = await rows_of(caller)
    assert [row["id"] for row in newest_first] == [3, 2, 1]
    sync, failed, workflow = newest_first
    assert (sync["modelIds"], sync["status"]) == (["claude-sonnet"], "completed")
    assert (failed["status"], failed["errorCode"]) == ("failed", "EXECUTION_FAILED")
    assert (workflow["workflowSlug"], workflow["source"]) == ("my-pipeline", "api-workflow")


async def test_the_row_of_a_sync_run_comes_with_its_end(caller: SandboxHttpClient) -> None:
    """Also where its answer is lost: the run goes on without its caller."""
    with pytest.raises(aiohttp.ClientError):
        await caller.submit("claude-sonnet", mode="sync", fault="drop_after", duration_s=30)
    assert await rows_of(caller) == []
    caller.clock.advance(31)
    assert len(await rows_of(caller)) == 1


async def test_pages_and_filters(caller: SandboxHttpClient) -> None:
    for n in range(5):
        await caller.start("suno" if n % 2 else "gpt-image-2", duration_s=60)
    assert [row["id"] for row in await rows_of(caller, "?limit=2&offset=2")] == [3, 2]
    assert [row["id"] for row in await rows_of(caller, "?modelId=suno")] == [4, 2]
    assert await rows_of(caller, "?status=completed") == []
    got = (await caller.call("GET", "/api/usage?limit=2&offset=2")).json
    assert (got["page"], got["pageSize"], got["total"]) == (1, 2, 5)
    assert (await caller.call("GET", "/api/usage?limit=x")).status == 400
    assert await rows_of(caller, key="knouds_live_pro") == []


async def test_late_missing_and_foreign_rows(caller: SandboxHttpClient) -> None:
    await caller.admin_post("usage", late_s=20)
    await caller.start("suno", duration_s=60)
    await caller.start("suno", duration_s=60, usage={"missing": True})
    await caller.start("gpt-image-2", duration_s=60, usage={"late_s": 5})
    await caller.admin_post("usage", foreign={"target": "kling-2-5", "count": 2, "age_s": 3})
    assert [row["id"] for row in await rows_of(caller)] == [2, 1]
    caller.clock.advance(6)
    assert (await rows_of(caller))[0]["modelIds"] == ["gpt-image-2"]
    caller.clock.advance(60)
    assert [row["modelIds"][0] for row in await rows_of(caller)] == [
        "suno",
        "gpt-image-2",
        "kling-2-5",
        "kling-2-5",
    ]


@pytest.mark.parametrize(("shift", "ids"), [(1, [5, 4]), (-1, [3, 2])])
async def test_pages_move_while_they_are_read(
    caller: SandboxHttpClient, shift: int, ids: list[int]
) -> None:
    """Of six rows the second page is 4 and 3; a moved one repeats a row, or skips one."""
    for _ in range(6):
        await caller.start("suno", duration_s=60)
    await caller.admin_post("faults", fault="pages_move", shift=shift, times=1)
    assert [row["id"] for row in await rows_of(caller, "?limit=2&offset=2")] == ids
    assert [row["id"] for row in await rows_of(caller, "?limit=2&offset=2")] == [4, 3]


@pytest.mark.parametrize("fault", ["HTTP_403", "HTTP_500", "RATE_LIMIT_EXCEEDED"])
async def test_a_read_can_be_refused(caller: SandboxHttpClient, fault: str) -> None:
    await caller.admin_post("faults", fault=fault, times=1, match={"route": "usage"})
    assert (await caller.call("GET", "/api/usage")).status in (403, 429, 500)
    assert await rows_of(caller) == []


async def test_reads_have_a_rate_limit_of_their_own(caller: SandboxHttpClient) -> None:
    await caller.admin_post("limits", route="usage", limit=1)
    assert (await caller.call("GET", "/api/usage")).headers["X-RateLimit-Remaining"] == "0"
    assert (await caller.call("GET", "/api/usage")).status == 429
