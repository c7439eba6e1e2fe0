"""The documented shapes of every endpoint, as the provider's pages give them."""

import asyncio
import re

from tests.sandbox.sandbox_http_client import SandboxHttpClient, wait_until

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def test_whoami_names_the_user_and_no_capabilities(caller: SandboxHttpClient) -> None:
    got = await caller.call("GET", "/api/whoami")
    assert got.status == 200
    assert got.json == {
        "user": {
            "id": "user_sandbox",
            "email": "user_sandbox@example.com",
            "role": "user",
            "tier": "business",
            "approved": True,
        }
    }


async def test_an_async_submit_answers_with_an_id_to_poll(caller: SandboxHttpClient) -> None:
    got = await caller.submit("suno")
    assert got.status == 200
    assert set(got.json) == {
        "_async",
        "executionId",
        "requestId",
        "status",
        "webhookDelivery",
        "pollUrl",
    }
    assert got.json["_async"] is True
    assert UUID.fullmatch(got.json["executionId"])
    assert got.json["requestId"].startswith("kie_")
    assert got.json["status"] == "processing"
    assert got.json["webhookDelivery"] == {"configured": False}
    assert got.json["pollUrl"] == f"/api/executions/{got.json['executionId']}"


async def test_a_run_is_processing_until_its_time_and_then_completed(
    caller: SandboxHttpClient,
) -> None:
    run = await caller.start("suno", duration_s=30)
    caller.clock.advance(29.9)
    early = await caller.poll(run)
    assert early.json["status"] == "processing"
    assert "result" not in early.json
    caller.clock.advance(0.2)
    late = await caller.poll(run)
    assert late.json["status"] == "completed"
    assert len(late.json["result"]["audios"]) == 2
    assert late.json["cost"] == 10
    assert late.json["modelIds"] == ["suno"]
    assert late.json["executionId"] == run


async def test_a_workflow_run_reports_its_slug_and_pays_for_each_node(
    caller: SandboxHttpClient,
) -> None:
    run = await caller.start("my-pipeline", kind="workflows", duration_s=0)
    got = await caller.poll(run)
    assert got.json["workflowSlug"] == "my-pipeline"
    assert len(got.json["modelIds"]) == 3
    assert got.json["cost"] == 8 + 10 + 60
    assert set(got.json["result"]) == {"images", "videos", "audios"}


async def test_a_sync_run_keeps_the_connection_open_until_the_end(
    caller: SandboxHttpClient,
) -> None:
    answer = asyncio.create_task(
        caller.submit("kling-2-5", mode="sync", duration_s=30, label="slow")
    )

    async def started() -> bool:
        return bool((await caller.admin_get("ledger"))["totals"]["started"])

    await wait_until(started)
    assert not answer.done()
    caller.clock.advance(30)
    got = await answer
    assert got.status == 200
    assert set(got.json) == {"success", "result", "cost", "ms"}
    assert (got.json["success"], got.json["cost"], got.json["ms"]) == (True, 35, 30_000)


async def test_an_async_model_runs_sync_as_well(caller: SandboxHttpClient) -> None:
    got = await caller.submit("gpt-image-2", mode="sync", duration_s=0)
    assert got.json["success"] is True
    assert len(got.json["result"]["images"]) == 1


async def test_a_schema_lists_fields_values_and_the_price(caller: SandboxHttpClient) -> None:
    got = await caller.call("GET", "/api/workflows/product-shots/schema")
    assert set(got.json) == {"name", "description", "fields", "values", "estimatedCreditCost"}
    assert got.json["estimatedCreditCost"] == 16
    first = got.json["fields"][0]
    assert (first["name"], first["type"], first["required"]) == ("product_image", "string", True)
    assert got.json["values"]["count"] == 4


async def test_a_cancelled_run_passes_through_cancel_requested(caller: SandboxHttpClient) -> None:
    run = await caller.start(duration_s=30, cancel_s=2)
    got = await caller.cancel(run)
    assert (got.status, got.json["status"]) == (200, "cancel_requested")
    assert (await caller.poll(run)).json["status"] == "cancel_requested"
    caller.clock.advance(2)
    ended = await caller.poll(run)
    assert ended.json["status"] == "cancelled"
    assert "result" not in ended.json


async def test_a_run_that_ends_before_the_cancel_is_done_completes(
    caller: SandboxHttpClient,
) -> None:
    run = await caller.start(duration_s=1, cancel_s=2)
    await caller.cancel(run)
    caller.clock.advance(2)
    assert (await caller.poll(run)).json["status"] == "completed"


async def test_cancelling_an_ended_run_changes_nothing(caller: SandboxHttpClient) -> None:
    run = await caller.start(duration_s=0)
    got = await caller.cancel(run)
    assert (got.status, got.json["status"]) == (200, "completed")


async def test_a_result_can_be_literal_or_of_a_size(caller: SandboxHttpClient) -> None:
    literal = await caller.start(duration_s=0, result={"text": "just this"})
    assert (await caller.poll(literal)).json["result"] == {"text": "just this"}
    large = await caller.start(duration_s=0, result_bytes=100_000)
    assert 100_000 <= len((await caller.poll(large)).raw) < 101_000


async def test_the_index_says_what_is_here(caller: SandboxHttpClient) -> None:
    got = await caller.call("GET", "/", key=None)
    assert got.json["key"] == "knouds_live_sandbox"
    assert "suno" in got.json["models"]
    assert "my-pipeline" in got.json["workflows"]


async def test_an_unknown_path_is_a_json_404(caller: SandboxHttpClient) -> None:
    got = await caller.call("GET", "/api/nowhere")
    assert got.status == 404
    assert "error" in got.json
