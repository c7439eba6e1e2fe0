"""What strict JSON readers refuse in a response: the run is read, and its result can be served."""

import json
from typing import Any

import msgspec
import pytest

from jobs.outcomes import Accepted, Finished
from worker.provider.knouds import wire
from worker.provider.knouds.strict_json import MAX_DEPTH, strict_text
from worker.provider.knouds.webhooks import KnoudsWebhooks

DEEP = b"[" * 5_000 + b"1" + b"]" * 5_000
LONG = b"9" * 5_000

LITERALS = [b"1e999", b"-1e999", b"1E+400", b"NaN", b"Infinity", b"-Infinity", LONG]


def reject(name: str) -> Any:
    raise AssertionError(name)


def strictly(text: bytes) -> Any:
    """Read it as strict readers do: with two of them."""
    found = msgspec.json.decode(text)
    assert json.loads(text, parse_constant=reject) == found
    return found


@pytest.mark.parametrize("literal", LITERALS, ids=lambda found: found[:9].decode())
def test_a_literal_that_json_has_no_room_for_becomes_its_text(literal: bytes) -> None:
    result = b'{ "a" : [1.50, %s], "text": "%s \\" [", "b": 7}' % (literal, literal[:20])
    completed = b'{"status":"completed","result":%s,"cost":%s}' % (result, literal)
    expected = result.replace(b"1.50, " + literal, b'1.50, "%s"' % literal)
    for outcome in (
        wire.read_poll(200, {}, completed),
        wire.read_submit(200, {}, completed),
    ):
        assert isinstance(outcome, Finished)
        assert outcome.result == expected
        assert strictly(outcome.result)["a"] == [1.5, literal.decode()]
        assert outcome.cost is None
    event = b'{"event":"execution.completed","executionId":"x","result":%s}' % result
    delivered = KnoudsWebhooks().read_event(event)
    assert delivered is not None
    assert isinstance(delivered.outcome, Finished)
    assert delivered.outcome.result == expected


@pytest.mark.parametrize("literal", LITERALS, ids=lambda found: found[:9].decode())
def test_an_accepted_run_is_never_lost_to_a_literal(literal: bytes) -> None:
    body = b'{"_async":true,"executionId":"x-1","queue":%s}' % literal
    outcome = wire.read_submit(202, {}, body)
    assert isinstance(outcome, Accepted)
    assert outcome.execution_id == "x-1"


def test_a_value_that_is_nested_too_deeply_becomes_its_text() -> None:
    completed = b'{"status":"completed","result":{"deep":%s,"url":"u"}}' % DEEP
    outcome = wire.read_poll(200, {}, completed)
    assert isinstance(outcome, Finished)
    found = strictly(outcome.result)
    assert found["url"] == "u"
    inner = found["deep"]
    while not isinstance(inner, str):
        (inner,) = inner
    assert inner in DEEP.decode()


@pytest.mark.parametrize(
    "result",
    [
        b'{"n":123456789012345678901234567890,"m":1.7e308,"z":-0.0}',
        b'{"a":1,"a":2}',
        b'{"text":"1e999 NaN [[["}',
        b"[" * 20 + b"]" * 20,
    ],
)
def test_what_strict_readers_take_stays_as_it_came(result: bytes) -> None:
    outcome = wire.read_poll(200, {}, b'{"status":"completed","result":%s}' % result)
    assert isinstance(outcome, Finished)
    assert outcome.result == result
    assert strict_text(result) == result


def test_levels_up_to_the_limit_stay() -> None:
    allowed = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert strict_text(allowed) == allowed
    assert strict_text(b"[%s]" % allowed) == b"[" * MAX_DEPTH + b'"[]"' + b"]" * MAX_DEPTH


@pytest.mark.parametrize("body", [b"<p>1e999</p>", b'{"a": ', b'{"a" 1e999}', b"[NaN]", b'"'])
def test_what_is_no_json_stays_unreadable(body: bytes) -> None:
    assert not isinstance(wire.read_submit(200, {}, body), Accepted | Finished)
