"""`POST /webhooks/knouds`: which requests are accepted, stored, refused and counted."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from tests.webhooks.webhook_system import (
    NEXT_SECRET,
    PATH,
    SECRET,
    ReceiverReply,
    WebhookSystem,
    delivery,
    signed,
)
from worker.api.edge.bodies import DELIVERY_ENVELOPE_BYTES
from worker.api.webhook_receiver import ReceiptOutcome, WebhookReceiver
from worker.clock import SystemClock
from worker.compose.api import running
from worker.provider.knouds.webhooks import KnoudsWebhooks
from worker.redis.connect import connect
from worker.store import open_store
from worker.store.webhooks import ReceiveResult

BODY = delivery("ex-1")
HEX = "ab" * 32


async def test_a_delivery_is_stored_once_and_answered(hooked: WebhookSystem) -> None:
    assert await hooked.post(BODY) == _received_count("stored")
    assert await hooked.keys() == {"delivery:ex-1", "inbox"}
    assert await hooked.post(BODY) == _received_count("known")
    assert await hooked.post(delivery("ex-1", result={"other": 1})) == _received_count("known")
    (received,) = await _claimed(hooked)
    assert (received.execution_id, received.is_ended, received.jobs) == ("ex-1", False, ())
    assert [(one.event, one.body) for one in received.deliveries] == [("execution.completed", BODY)]


async def test_another_event_of_the_same_run_is_another_delivery(hooked: WebhookSystem) -> None:
    assert await hooked.post(BODY) == _received_count("stored")
    assert await hooked.post(delivery("ex-1", "execution.cancelled")) == _received_count("stored")
    (received,) = await _claimed(hooked)
    events = [one.event for one in received.deliveries]
    assert events == ["execution.completed", "execution.cancelled"]


async def test_of_many_at_the_same_time_one_is_stored(hooked: WebhookSystem) -> None:
    replies = await asyncio.gather(*(hooked.post(BODY) for _ in range(20)))
    outcomes = sorted(reply.doc["outcome"] for reply in replies)
    assert outcomes == ["known"] * 19 + ["stored"]


async def test_while_a_secret_is_changed_both_count(hooked: WebhookSystem) -> None:
    for name, secret in (("a", SECRET), ("b", NEXT_SECRET)):
        body = delivery(name)
        assert await hooked.post(body, signed(body, secret=secret)) == _received_count("stored")
    body = delivery("c")
    wrong = signed(body, secret="whsec_of_somebody_else").partition("v1=")[2]
    both = f"{signed(body)},v1={wrong}"
    assert await hooked.post(body, both) == _received_count("stored")


FORGERIES = {
    "not signed": "",
    "no scheme": HEX,
    "no digest": "t=1",
    "a wrong digest": f"t={{now}},v1={HEX}",
    "a short digest": "t={now},v1=abcd",
    "two times": f"t={{now}},t={{now}},v1={HEX}",
}


@pytest.mark.parametrize("header", FORGERIES.values(), ids=FORGERIES)
async def test_a_delivery_that_is_not_signed_changes_nothing(
    hooked: WebhookSystem, header: str
) -> None:
    reply = await hooked.post(BODY, header.replace("{now}", str(int(time.time()))))
    assert reply.status == 401
    assert reply.doc["type"].startswith("urn:knouds-worker:problem:")
    assert not await hooked.keys()


@pytest.mark.parametrize(
    ("secret", "late_s", "status"),
    [
        (SECRET, 0, 200),
        (SECRET, 290, 200),
        (SECRET, -290, 200),
        (SECRET, 310, 401),
        (SECRET, -310, 401),
        ("whsec_of_somebody_else", 0, 401),
    ],
)
async def test_secret_and_time_have_to_match(
    hooked: WebhookSystem, secret: str, late_s: float, status: int
) -> None:
    header = signed(BODY, secret=secret, at=time.time() - late_s)
    assert (await hooked.post(BODY, header)).status == status
    assert bool(await hooked.keys()) is (status == 200)


async def test_a_right_signature_on_another_body_is_a_forgery(hooked: WebhookSystem) -> None:
    assert (await hooked.post(delivery("ex-2"), signed(BODY))).status == 401
    assert not await hooked.keys()


async def test_two_signature_headers_count_as_none(hooked: WebhookSystem) -> None:
    header = signed(BODY)
    headers: Any = [("X-Knouds-Signature", header), ("X-Knouds-Signature", header)]
    async with hooked.system.http.post(hooked.api + PATH, data=BODY, headers=headers) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"{}", b'{"event": 1}', b"\xff"])
async def test_a_signed_but_unreadable_body_is_refused(hooked: WebhookSystem, body: bytes) -> None:
    assert (await hooked.post(body)).status == 400
    assert not await hooked.keys()


async def test_a_test_delivery_is_answered_and_leaves_nothing(hooked: WebhookSystem) -> None:
    assert await hooked.post(delivery(event="webhook.test")) == _received_count("test")
    assert await hooked.system.sandbox_admin("webhook/test") == {"delivered": True}
    assert not await hooked.keys()


async def test_a_delivery_that_names_no_run_is_answered(hooked: WebhookSystem) -> None:
    assert await hooked.post(delivery(executionId=7.5)) == _received_count("ignored")
    assert not await hooked.keys()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_bounded_by_the_largest_result(
    hooked: WebhookSystem, *, chunked: bool
) -> None:
    limit = hooked.system.settings.max_result_bytes + DELIVERY_ENVELOPE_BYTES
    fits, too_large = (delivery("ex-1").ljust(size) for size in (limit, limit + 1))
    if chunked:
        assert await _post_chunked(hooked, too_large) == 413
        assert await _post_chunked(hooked, fits) == 200
    else:
        assert (await hooked.post(too_large)).status == 413
        assert (await hooked.post(fits)).status == 200


async def _post_chunked(hooked: WebhookSystem, body: bytes) -> int:
    async def chunks() -> AsyncGenerator[bytes]:
        for first in range(0, len(body), 65_536):
            yield body[first : first + 65_536]

    headers = {"X-Knouds-Signature": signed(body)}
    url = hooked.api + PATH
    async with hooked.system.http.post(url, data=chunks(), headers=headers) as answer:
        return answer.status


async def test_without_a_secret_no_delivery_is_accepted(hooked: WebhookSystem) -> None:
    system = hooked.system
    settings = system.settings.model_copy(update={"webhook_secret": None})
    async with running(settings, system.store) as api:
        reply = await WebhookSystem(system, api).post(BODY)
    assert reply.status == 404
    assert "KNOUDS_WEBHOOK_SECRET" in reply.doc["detail"]
    assert not await hooked.keys()


async def test_neither_token_nor_host_is_checked(hooked: WebhookSystem) -> None:
    """A delivery comes through a tunnel or a proxy, under its host name."""
    headers = {"Host": "hooks.example.com", "Sec-Fetch-Site": "cross-site"}
    reply = await hooked.post(BODY, headers=headers)
    assert reply == _received_count("stored")
    async with hooked.system.http.get(f"{hooked.api}/v1/jobs", headers=headers) as answer:
        assert answer.status == 403


async def test_requests_are_counted_by_outcome(hooked: WebhookSystem) -> None:
    receiver = WebhookReceiver(hooked.system.store, SystemClock(), KnoudsWebhooks())
    for _ in range(3):
        with pytest.raises(Exception, match="KNOUDS_WEBHOOK_SECRET"):
            await receiver.receive(make_mocked_request("POST", PATH))
    assert receiver.counts == {ReceiptOutcome.CLOSED: 3}


async def test_without_redis_the_provider_has_to_repeat_the_delivery(hooked: WebhookSystem) -> None:
    """503: no delivery counts as accepted that is not stored."""
    away = connect(hooked.system.settings, "redis://127.0.0.1:1/0")
    try:
        async with running(hooked.system.settings, open_store(away, "t")) as api:
            assert (await WebhookSystem(hooked.system, api).post(BODY)).status == 503
    finally:
        await away.aclose(close_connection_pool=True)


async def test_a_delivery_after_the_end_of_its_run_is_known(hooked: WebhookSystem) -> None:
    webhooks = hooked.system.store.webhooks
    assert not await webhooks.record_run_end("ex-1")
    assert await webhooks.receive("ex-1", "execution.completed", BODY, time.time()) is (
        ReceiveResult.ENDED
    )
    assert await hooked.keys() == {"delivery:ex-1"}


def _received_count(outcome: str) -> Any:
    return ReceiverReply(200, {"outcome": outcome})


async def _claimed(hooked: WebhookSystem) -> Any:
    now = time.time()
    return await hooked.system.store.webhooks.claim(now + 1, now + 10, 10)
