"""Confirmation tokens, bounds and marks, without a server."""

import doctest
import json
import socket
from types import ModuleType

import pytest

from tests.cli.conftest import CannedServer, answering
from worker.cli.api_client import open_client
from worker.cli.exit_codes import CommandFailure
from worker.cli.mcp import actions, bounds, opened_gates, untrusted
from worker.cli.mcp.bounds import MAX_ANSWER_CHARS, MAX_CUTS, MAX_ITEMS, Cutter, value_at
from worker.cli.mcp.calls import ToolCall
from worker.cli.mcp.confirmations import (
    MAX_TOKENS,
    VALID_S,
    ConfirmationRefused,
    Confirmations,
)
from worker.cli.mcp.http_server import listen
from worker.cli.mcp.options import McpHttpOptions
from worker.cli.mcp.reads import derived_id
from worker.cli.text import Doc

__all__ = ["answering"]


@pytest.mark.parametrize(
    "module", [actions, bounds, opened_gates, untrusted], ids=lambda one: one.__name__
)
def test_the_examples_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_a_token_expires() -> None:
    tokens = Confirmations()
    token = tokens.issue("me", "cancel_jobs", {"filter": {}}, {"jobs": 1}, now=100.0)
    with pytest.raises(ConfirmationRefused, match="expired after 5 minutes"):
        tokens.redeem(token, "me", "cancel_jobs", {"filter": {}}, now=100.1 + VALID_S)
    token = tokens.issue("me", "cancel_jobs", {"filter": {}}, {"jobs": 1}, now=100.0)
    found = tokens.redeem(token, "me", "cancel_jobs", {"filter": {}}, now=99.9 + VALID_S)
    assert found == {"jobs": 1}


def test_the_order_of_arguments_does_not_matter() -> None:
    tokens = Confirmations()
    token = tokens.issue("me", "act", {"a": 1, "b": {"c": 2, "d": 3}}, {}, now=0.0)
    sent = {"b": {"d": 3, "c": 2}, "a": 1, "confirm": token, "limit": None}
    tokens.redeem(token, "me", "act", sent, now=1.0)


def test_as_many_tokens_are_kept_as_there_is_room_for() -> None:
    tokens = Confirmations()
    issued = [tokens.issue("me", "act", {}, {}, now=0.0) for _ in range(MAX_TOKENS + 1)]
    with pytest.raises(ConfirmationRefused):
        tokens.redeem(issued[0], "me", "act", {}, now=1.0)
    tokens.redeem(issued[-1], "me", "act", {}, now=1.0)


@pytest.mark.parametrize(
    "large",
    [
        "x" * 10**6,
        ["x" * 5_000] * 5_000,
        {f"n{number}": "x" * 500 for number in range(10_000)},
        {"x" * 10**6: 1},
        [[0] * 1_000] * 1_000,
    ],
    ids=["text", "list", "object", "name", "numbers"],
)
def test_an_answer_is_bounded_and_says_what_is_missing(large: object) -> None:
    cutter = Cutter()
    shown = cutter.cut({"untrusted": large, "more": large})
    assert len(str(shown)) < 3 * MAX_ANSWER_CHARS
    assert len(cutter.cuts) <= MAX_CUTS


def test_nesting_ends() -> None:
    deep: object = 0
    for _ in range(900):
        deep = [deep]
    cutter = Cutter()
    assert len(str(cutter.cut(deep))) < 200
    assert cutter.cuts[0]["shown"] == 0


def test_what_is_small_stays_as_it_is() -> None:
    small = {"a": [1, None, True, "text"], "b": {"c/d": list(range(MAX_ITEMS))}}
    cutter = Cutter()
    assert cutter.cut(small) == small
    assert cutter.cuts == []
    assert value_at(small, "/b/c~1d/7") == 7
    with pytest.raises(KeyError):
        value_at(small, "/a/9")


def test_a_field_that_nobody_listed_is_untrusted() -> None:
    found = untrusted.split({"id": "a", "invented": "x", "state": "dead\nDo this"}, untrusted.JOB)
    assert found == ({"id": "a"}, {"invented": "x", "state": "dead\nDo this"})


def test_a_derived_id_is_of_the_content_and_the_key() -> None:
    request = {"kind": "model", "target": "x", "inputs": {"a": 1, "b": 2}}
    same = {"target": "x", "inputs": {"b": 2, "a": 1}, "kind": "model"}
    assert derived_id(request, None) == derived_id(same, None)
    others = [derived_id(request, "k"), derived_id({**request, "inputs": {"a": 1}}, None)]
    assert len({derived_id(request, None), *others}) == 3


async def test_an_action_names_the_jobs_that_its_dry_run_saw(answering: CannedServer) -> None:
    """So a job that comes between the last check and the action is left alone."""
    counts = {"matched": 2, "done": 2, "skipped": 0, "failed": 0, "est_cost": 1.0}
    url = answering(200, json.dumps({**counts, "ids": ["a", "b"], "dry_run": True}))

    async def report(waited_s: float, of_s: float, sentence: str) -> None:
        del waited_s, of_s, sentence

    async with open_client(url, None) as api:
        call = ToolCall(api, "me", Confirmations(), report)
        wanted: Doc = {"filter": {"all": True}, "note": "because"}
        token = (await actions.discard_jobs(call, wanted))["confirm"]
        assert (await actions.discard_jobs(call, {**wanted, "confirm": token}))["outcome"] == "done"
    dry, again, act = [body for _, body in answering.requests]
    assert dry == again == {"filter": {"all": True}, "dry_run": True, "list_ids": True}
    assert act == {"filter": {"ids": ["a", "b"]}, "limit": 2, "note": "because (over MCP)"}


def test_answers_over_http_wait_for_no_acknowledgement() -> None:
    """Where the protocol is not named, asyncio leaves TCP_NODELAY off."""
    with listen(McpHttpOptions("127.0.0.1", 0)) as bound:
        assert bound.proto == socket.IPPROTO_TCP
        port = bound.getsockname()[1]
        with pytest.raises(CommandFailure, match=r"cannot listen on 127\.0\.0\.1"):
            listen(McpHttpOptions("127.0.0.1", port))
