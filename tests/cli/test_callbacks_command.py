"""`callbacks`: list, show and resend; and what `enqueue --callback-url` sends."""

import json
from collections.abc import Callable

from tests.cli.command_runner import Doc
from tests.cli.conftest import CannedServer, Cli
from worker.cli.exit_codes import ExitCode

BareCli = Callable[[dict[str, str]], Cli]

ONE: Doc = {
    "id": "msg_1",
    "type": "job.dead",
    "job": "order-1",
    "sequence": 7,
    "url": "https://hooks.example.com/\x1b[31m",
    "host": "https://hooks.example.com:443",
    "state": "failed",
    "created_at": "2026-01-31T02:00:00.000Z",
    "since": "2026-01-31T02:00:09.000Z",
    "tries": 3,
    "tried_at": "2026-01-31T02:00:09.000Z",
    "next_try_at": None,
    "status": 410,
    "error": "answered 410 Gone",
}
DOWN: Doc = {
    "host": "https://hooks.example.org:443",
    "since": "2026-01-31T02:00:00.000Z",
    "next_probe_at": "2026-01-31T02:00:09.000Z",
    "failures": 5,
    "error": "cannot connect",
}


def test_failed_callbacks_are_listed_with_the_command_for_them(
    answering: CannedServer, bare_cli: BareCli
) -> None:
    page: Doc = {"items": [ONE], "next_cursor": "abc", "hosts_down": [DOWN]}
    cli = bare_cli({"KNOUDS_API_URL": answering(200, json.dumps(page))})
    done = cli("callbacks", "ls", "--state", "failed", "--job", "order-1")
    assert done.code == ExitCode.OK, done.err
    for text in (
        "msg_1",
        "job.dead",
        "answered 410 Gone",
        "https://hooks.example.org:443 is down",
        "callbacks resend msg_1",
        "--cursor abc",
    ):
        assert text in done.out
    assert "\x1b" not in done.out
    (path, _), *_ = answering.requests
    assert path.startswith("/v1/callbacks?")
    assert "state=failed" in path
    assert "job=order-1" in path


def test_no_callbacks_are_said(answering: CannedServer, bare_cli: BareCli) -> None:
    page: Doc = {"items": [], "next_cursor": None, "hosts_down": []}
    cli = bare_cli({"KNOUDS_API_URL": answering(200, json.dumps(page))})
    assert "no callbacks" in cli("callbacks", "ls").out
    assert cli("callbacks", "ls", "--json").doc == page
    assert cli("callbacks", "ls", "--state", "lost").code == ExitCode.USAGE


def test_one_is_shown_and_sent_again(answering: CannedServer, bare_cli: BareCli) -> None:
    cli = bare_cli({"KNOUDS_API_URL": answering(200, json.dumps(ONE))})
    shown = cli("callbacks", "show", "msg_1").out
    for text in ("msg_1  failed", "job.dead of job order-1", "status: 410", "resend msg_1"):
        assert text in shown
    assert "\x1b" not in shown
    cli = bare_cli({"KNOUDS_API_URL": answering(200, json.dumps(ONE | {"state": "pending"}))})
    done = cli("callbacks", "resend", "msg_1", "--note", "it is back")
    assert (done.code, done.out) == (ExitCode.OK, "msg_1: pending\n")
    assert answering.requests[-1] == ("/v1/callbacks/msg_1/resend", {"note": "it is back"})


def test_enqueue_sends_the_url(answering: CannedServer, bare_cli: BareCli) -> None:
    cli = bare_cli({"KNOUDS_API_URL": answering(202, json.dumps({"id": "j", "state": "queued"}))})
    url = "https://hooks.example.com/x"
    done = cli("enqueue", "model", "suno", "--inputs", "{}", "--callback-url", url)
    assert done.code == ExitCode.OK, done.err
    assert answering.requests[-1][1]["callback_url"] == url
