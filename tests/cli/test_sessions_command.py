"""`sessions`: who is logged in, and logging them out."""

import json
from collections.abc import Callable

from tests.cli.command_runner import Doc
from tests.cli.conftest import CannedServer, Cli
from worker.cli.exit_codes import ExitCode

BareCli = Callable[[dict[str, str]], Cli]

SESSION: Doc = {
    "id": "0123456789abcdef",
    "token": "ann\x1b[2J",
    "client": "203.0.113.7",
    "opened_at": "2026-01-31T18:00:00.000Z",
    "ends_at": "2026-02-01T06:00:00.000Z",
}


def test_sessions_are_listed_with_token_and_address(
    answering: CannedServer, bare_cli: BareCli
) -> None:
    url = answering(200, json.dumps({"items": [SESSION], "next_cursor": None}))
    done = bare_cli({"KNOUDS_API_URL": url})("sessions", "ls")
    assert done.code == ExitCode.OK
    assert "0123456789abcdef" in done.out
    assert "from 203.0.113.7" in done.out
    assert "\x1b" not in done.out


def test_nobody_is_logged_in(answering: CannedServer, bare_cli: BareCli) -> None:
    url = answering(200, json.dumps({"items": [], "next_cursor": None}))
    assert "nobody is logged in" in bare_cli({"KNOUDS_API_URL": url})("sessions", "ls").out


def test_a_session_is_revoked_by_its_id(answering: CannedServer, bare_cli: BareCli) -> None:
    url = answering(200, json.dumps(SESSION))
    done = bare_cli({"KNOUDS_API_URL": url})("sessions", "revoke", SESSION["id"], "--note", "lost")
    assert done.code == ExitCode.OK
    assert SESSION["id"] in done.out
