"""Webhooks: signed, retried, and on request lost, doubled, early or out of order."""

import hashlib
import hmac
from typing import Any

import pytest

from tests.sandbox.sandbox_http_client import SandboxHttpClient, WebhookMailbox, wait_until

SECRET = "whsec_0123456789abcdef"


@pytest.fixture
async def hooked(caller: SandboxHttpClient, mailbox: WebhookMailbox) -> SandboxHttpClient:
    await caller.admin_post("webhook", url=mailbox.url, secret=SECRET)
    return caller


async def _delivery_counts(caller: SandboxHttpClient) -> Any:
    return (await caller.admin_get("state"))["webhooks"]


async def test_the_end_of_a_run_is_delivered_in_the_documented_format(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    got = await hooked.submit("my-pipeline", kind="workflows", duration_s=5)
    assert got.json["webhookDelivery"] == {"configured": True, "url": mailbox.url}
    hooked.clock.advance(5)
    letter = await mailbox.next()
    assert letter["event"] == "execution.completed"
    assert letter["executionId"] == got.json["executionId"]
    assert letter["requestId"] == got.json["requestId"]
    assert letter["userId"] == "user_sandbox"
    assert letter["workflowSlug"] == "my-pipeline"
    assert len(letter["modelIds"]) == 3
    assert letter["status"] == "completed"
    assert letter["result"]["videos"]


async def test_the_signature_is_an_hmac_of_time_and_raw_body(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    await hooked.start(duration_s=0)
    headers, raw = await mailbox.deliveries.get()
    stamp, digest = (part.split("=", 1)[1] for part in headers["X-Knouds-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + raw, hashlib.sha256)
    assert digest == expected.hexdigest()
    assert int(stamp) == int(hooked.clock.now())


async def test_failed_and_cancelled_runs_are_delivered_too(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    await hooked.start(fault="fails", code="EXECUTION_FAILED", duration_s=0)
    failed = await mailbox.next()
    assert (failed["event"], failed["error"]["code"]) == ("execution.failed", "EXECUTION_FAILED")
    run = await hooked.start(duration_s=60, cancel={"fault": "cancel_finished"}, cancel_s=0)
    await hooked.cancel(run)
    cancelled = await mailbox.next()
    assert (cancelled["event"], cancelled["status"]) == ("execution.cancelled", "cancelled")
    assert cancelled["result"]


async def test_a_delivery_that_fails_is_sent_again(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    mailbox.answers = [500]
    await hooked.start(duration_s=0, label="x")
    first = await mailbox.next()

    async def failed() -> bool:
        return bool((await _delivery_counts(hooked))["failed"])

    await wait_until(failed)
    hooked.clock.advance(1)
    assert await mailbox.next() == first

    async def delivered() -> bool:
        items = (await hooked.admin_get("executions?label=x"))["items"]
        return items[0]["delivered_at"] is not None

    await wait_until(delivered)


async def test_a_delivery_may_be_lost(hooked: SandboxHttpClient, mailbox: WebhookMailbox) -> None:
    await hooked.start(duration_s=0, webhook={"lost": True})
    kept = await hooked.start(duration_s=0)
    assert (await mailbox.next())["executionId"] == kept
    assert (await _delivery_counts(hooked))["sent"] == 1


async def test_a_delivery_may_come_twice(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    await hooked.admin_post("webhook", doubled=1.0)
    await hooked.start(duration_s=0)
    assert await mailbox.next() == await mailbox.next()


async def test_a_delivery_may_be_late_and_out_of_order(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    late = await hooked.start(duration_s=0, webhook={"delay_s": 10})
    soon = await hooked.start(duration_s=0)
    assert (await mailbox.next())["executionId"] == soon
    hooked.clock.advance(10)
    assert (await mailbox.next())["executionId"] == late


async def test_a_delivery_may_come_before_the_submit_is_answered(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    run = await hooked.start(duration_s=60, webhook={"early": True})
    assert mailbox.deliveries.qsize() == 1
    assert (await mailbox.next())["executionId"] == run


async def test_an_early_delivery_survives_a_lost_answer(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    got = await hooked.submit(fault="html_502", started=True, webhook={"early": True})
    assert got.status == 502
    assert (await mailbox.next())["event"] == "execution.completed"


async def test_a_test_delivery_is_sent_on_demand(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    assert await hooked.admin_post("webhook/test") == {"delivered": True}
    assert (await mailbox.next())["event"] == "webhook.test"


async def test_a_webhook_can_be_taken_away(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    await hooked.admin_post("webhook", url=None)
    got = await hooked.submit(duration_s=0)
    assert got.json["webhookDelivery"] == {"configured": False}
    refused = await hooked.call("POST", "/_sandbox/webhook/test", key=None)
    assert refused.status == 400
    assert mailbox.deliveries.empty()


async def test_a_sync_run_sends_no_webhook(
    hooked: SandboxHttpClient, mailbox: WebhookMailbox
) -> None:
    await hooked.submit("kling-2-5", mode="sync", duration_s=0)
    run = await hooked.start(duration_s=0)
    assert (await mailbox.next())["executionId"] == run
