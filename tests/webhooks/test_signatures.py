"""Signatures of deliveries: the rule restated, with digests computed by hand."""

import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.deliveries import next_match_at
from tests.webhooks.webhook_system import NEXT_SECRET, SECRET, signed
from worker.provider.knouds.webhooks import (
    MAX_DIGESTS,
    MAX_HEADER_CHARS,
    KnoudsSignature,
    KnoudsWebhooks,
    parse_signature,
)

NOW = 1_760_000_000
HEX = "ab" * 32
BODY = b'{"event": "webhook.test"}'


def secrets(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


def test_a_signature_is_the_one_the_provider_documents() -> None:
    found = parse_signature(signed(BODY, at=NOW), secrets(SECRET))
    made = hmac.new(SECRET.encode(), b"1760000000." + BODY, hashlib.sha256).digest()
    assert found is not None
    assert found == KnoudsSignature("1760000000", (made,), secrets(SECRET))
    assert found.matches(BODY)


@pytest.mark.parametrize(
    "header",
    [
        f"t={NOW},v1={HEX}",
        f"v1={HEX},t={NOW}",
        f" t={NOW} , v1={HEX.upper()} ",
        f"t={NOW},v0=anything,v1={HEX},v2=",
    ],
)
def test_a_header_is_read_whatever_stands_beside(header: str) -> None:
    assert parse_signature(header) == KnoudsSignature(str(NOW), (bytes.fromhex(HEX),))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=",
        HEX,
        f"t={NOW}",
        f"v1={HEX}",
        f"t={NOW},v1=",
        f"t={NOW},v1={HEX[:-1]}",
        f"t={NOW},v1={HEX}00",
        f"t={NOW},v1={'zz' * 32}",
        f"t={NOW},v1={HEX},v1=00",
        f"t={NOW},t={NOW},v1={HEX}",
        f"t=-{NOW},v1={HEX}",
        f"t={NOW}.5,v1={HEX}",
        f"t=٣{NOW},v1={HEX}",
        f"t={'9' * 400},v1={HEX}",
        f"t={NOW};v1={HEX}",
        f"T={NOW},V1={HEX}",
        f"t={NOW}" + f",v1={HEX}" * (MAX_DIGESTS + 1),
        f"t={NOW},v1={HEX},x=" + "y" * MAX_HEADER_CHARS,
    ],
)
def test_anything_else_is_no_signature(header: str) -> None:
    assert parse_signature(header) is None


@settings(max_examples=100, database=None)
@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_no_header_raises(header: str) -> None:
    parse_signature(header)
    parse_signature(f"t={header},v1={HEX}")
    parse_signature(f"t={NOW},v1={header}")


@pytest.mark.parametrize(
    ("seconds", "timely"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)]
)
def test_a_signature_counts_for_300_seconds_either_way(seconds: int, timely: bool) -> None:  # noqa: FBT001
    assert KnoudsSignature(str(NOW - seconds), ()).is_timely(NOW) is timely


def matches(digests: tuple[bytes, ...], *known: str, time: str = str(NOW)) -> bool:
    return KnoudsSignature(time, digests, secrets(*known)).matches(BODY)


def test_any_of_several_secrets_and_of_several_digests_will_do() -> None:
    old, new = (parse_signature(signed(BODY, secret=s, at=NOW)) for s in (SECRET, NEXT_SECRET))
    assert old is not None
    assert new is not None
    assert matches(old.digests, SECRET, NEXT_SECRET)
    assert matches(new.digests, SECRET, NEXT_SECRET)
    both = (old.digests[0], new.digests[0])
    assert matches(both, SECRET)
    assert matches(both, NEXT_SECRET)
    assert not matches(both, "whsec_somebody_else's")
    assert not matches(both)


def test_the_body_and_the_time_are_both_signed() -> None:
    parsed = parse_signature(signed(BODY, at=NOW), secrets(SECRET))
    assert parsed is not None
    assert parsed.matches(BODY)
    assert not parsed.matches(BODY + b" ")
    assert not matches(parsed.digests, SECRET, time=str(NOW + 1))
    assert not matches(parsed.digests, SECRET, time="0" + parsed.time)


@pytest.mark.parametrize(
    ("headers", "is_read"),
    [
        ([], False),
        ([("x-other", f"t={NOW},v1={HEX}")], False),
        ([("X-Knouds-Signature", f"t={NOW},v1={HEX}")], True),
        ([("x-knouds-signature", f"t={NOW},v1={HEX}"), ("accept", "*/*")], True),
        ([("X-Knouds-Signature", f"t={NOW},v1={HEX}")] * 2, False),
    ],
)
def test_the_signature_is_read_from_its_one_header(
    headers: list[tuple[str, str]],
    is_read: bool,  # noqa: FBT001
) -> None:
    assert (KnoudsWebhooks().read_signature(headers) is not None) is is_read


def test_a_delivery_waits_for_its_job_in_doubling_steps_and_not_for_ever() -> None:
    waits: list[float] = []
    now = 0.0
    while (then := next_match_at(0.0, now)) is not None:
        waits.append(then - now)
        now = then
    assert waits == [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
