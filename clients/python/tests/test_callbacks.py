"""Callbacks are verified as the Standard Webhooks library does."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from standardwebhooks import Webhook

from knouds_worker_client import InvalidCallback, verify_callback

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = json.dumps(
    {
        "type": "job.succeeded",
        "timestamp": "2026-11-27T16:29:38.030Z",
        "sequence": 7,
        "data": {"id": "cat-1"},
    }
)


def signed(body: str = BODY, *, age_s: float = 0, secret: str = SECRET) -> dict[str, str]:
    at = datetime.now(timezone.utc) - timedelta(seconds=age_s)
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": "v1a,other " + Webhook(secret).sign("msg_1", at, body),
    }


def _signature() -> str:
    return signed()["Webhook-Signature"]


def test_what_the_library_signs_is_read() -> None:
    found = verify_callback(SECRET, signed(), BODY.encode())
    assert (found.id, found.type, found.data) == ("msg_1", "job.succeeded", {"id": "cat-1"})
    assert found.sequence == 7
    assert found.job is not None
    assert found.job.id == "cat-1"
    assert found.timestamp == datetime(2026, 11, 27, 16, 29, 38, 30_000, tzinfo=timezone.utc)


@pytest.mark.parametrize("secrets", [f"whsec_b2xk,{SECRET}", ["whsec_b2xk", SECRET]])
def test_one_of_several_secrets_is_enough(secrets: str | list[str]) -> None:
    assert verify_callback(secrets, signed(), BODY).id == "msg_1"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (signed(), BODY.replace("succeeded", "dead")),
        (signed(secret="whsec_b2xk"), BODY),
        (signed(age_s=400), BODY),
        (signed(age_s=-400), BODY),
        ({**signed(), "Webhook-Id": "msg_2"}, BODY),
        ({**signed(), "Webhook-Timestamp": "soon"}, BODY),
        ({**signed(), "Webhook-Signature": ""}, BODY),
        ({**signed(), "Webhook-Signature": _signature().replace("v1,", "v2,")}, BODY),
        ({}, BODY),
        (signed("[]"), "[]"),
        (signed("{"), "{"),
    ],
)
def test_everything_else_is_refused(headers: dict[str, str], body: str) -> None:
    with pytest.raises(InvalidCallback):
        verify_callback(SECRET, headers, body)


def test_a_secret_that_is_none_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        verify_callback("whsec_!", signed(), BODY)
