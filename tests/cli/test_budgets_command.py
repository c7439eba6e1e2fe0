"""`budgets`: set one, see what waits for it, raise it, remove it; and wrong values."""

import json
from collections.abc import Callable

import pytest

from tests.cli.command_runner import Doc, wait_until
from tests.cli.conftest import CannedServer, Cli, CliWorkspace
from worker.cli.exit_codes import ExitCode

BareCli = Callable[[dict[str, str]], Cli]

SHOWN: Doc = {
    "name": "b",
    "scope": "tag:a b",
    "period": "day",
    "limit": 100.0,
    "time_zone": "Europe/Berlin",
    "spent": 112.5,
    "reserved": 0.0,
    "left": 0.0,
    "exceeded_by": 12.5,
    "starts_at": "2026-01-31T18:00:00.000Z",
    "resets_at": "2026-02-01T18:00:00.000Z",
    "state": "closed",
    "action": "Wait for the next day, or raise the limit",
    "error": "",
    "waiting": 3,
    "set_by": "ann",
    "set_at": "2026-01-31T18:00:00.000Z",
    "note": "agreed \x1b[31mwith sales",
}


def row(workspace: CliWorkspace) -> Doc:
    """The budget of a workspace as `ls` has it."""
    rows: list[Doc] = workspace.cli("budgets", "ls", "--json").doc["items"]
    (own,) = [one for one in rows if one["name"] == workspace.name]
    return own


def until(workspace: CliWorkspace, **facts: object) -> Doc:
    """Wait until the budget is as described."""
    found: list[Doc] = []

    def is_so() -> bool:
        found.append(row(workspace))
        return facts.items() <= found[-1].items()

    wait_until(is_so, 15, complaint=lambda: f"not {facts}: {found[-1]}")
    return found[-1]


def test_a_budget_holds_shows_what_waits_and_lets_it_go(workspace: CliWorkspace) -> None:
    words = ("budgets", "set", workspace.name, "--scope", workspace.account, "--period", "total")
    done = workspace.cli(*words, "--limit", "3", "--note", "try it")
    assert done.code == ExitCode.OK
    assert f"3 credits in total for {workspace.account}" in done.out
    assert "budgets ls" in done.out
    until(workspace, state="open")
    workspace.until(workspace.enqueue("nano-banana-2"), "succeeded")
    kept = workspace.enqueue("nano-banana-2")
    found = until(workspace, waiting=1)
    assert (found["spent"], found["left"], found["state"]) == (3, 0, "closed")
    table = workspace.cli("budgets", "ls").out
    assert f"{workspace.name} closed  1 job waiting · set by local" in table
    assert "“try it”" in table
    raised = workspace.cli(*words, "--limit", "500", "--json")
    assert (raised.doc["spent"], raised.doc["state"]) == (3, "open")
    workspace.until(kept, "succeeded")
    asked = workspace.cli("budgets", "rm", workspace.name)
    assert (asked.code, "add --yes" in asked.err) == (ExitCode.FAILED, True)
    assert row(workspace)["limit"] == 500
    removed = workspace.cli("budgets", "rm", workspace.name, "--yes", "--note", "done")
    assert (removed.code, removed.out) == (ExitCode.OK, f"{workspace.name}: removed\n")
    gone = workspace.cli("budgets", "rm", workspace.name, "--yes")
    assert (gone.code, "there is no budget" in gone.err) == (ExitCode.FAILED, True)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"--limit": "-1"}, ExitCode.USAGE, "'--limit': must be a number of credits more than 0"),
        ({"--limit": "0"}, ExitCode.USAGE, "'--limit': must be a number of credits more than 0"),
        ({"--limit": "nan"}, ExitCode.USAGE, "at most 1,000,000,000, not 'nan'"),
        ({"--limit": "inf"}, ExitCode.USAGE, "at most 1,000,000,000, not 'inf'"),
        ({"--limit": "1e10"}, ExitCode.USAGE, "at most 1,000,000,000, not '1e10'"),
        ({"--limit": "much"}, ExitCode.USAGE, "'--limit': must be a number of credits"),
        ({"--limit": "1e-9"}, ExitCode.FAILED, "limit must be a number of credits more than 0"),
        ({"--period": "week"}, ExitCode.USAGE, "'day', 'month', 'total'"),
        ({"--scope": "default/video"}, ExitCode.FAILED, "scope 'default/video' is not a scope"),
        ({"--scope": "tag:"}, ExitCode.FAILED, "write tag:NAME"),
        ({"--time-zone": "Mars/Olympus"}, ExitCode.FAILED, "time_zone 'Mars/Olympus' is not"),
        ({"NAME": "Loud Name"}, ExitCode.FAILED, "name must be 1 to 64 lowercase letters"),
    ],
)
def test_a_wrong_value_is_named_with_the_fix(
    workspace: CliWorkspace, changes: dict[str, str], code: ExitCode, text: str
) -> None:
    given = {"NAME": "b", "--scope": "default", "--period": "day", "--limit": "9"} | changes
    words = [word for pair in given.items() for word in pair][1:]
    done = workspace.cli("budgets", "set", *words)
    assert (done.code, text in " ".join(done.err.split())) == (code, True), done.err


def test_a_budget_that_keeps_jobs_waiting_has_its_next_step(
    answering: CannedServer, bare_cli: BareCli
) -> None:
    url = answering(200, json.dumps({"items": [SHOWN], "next_cursor": None}))
    out = bare_cli({"KNOUDS_API_URL": url})("budgets", "ls").out
    assert "\x1b" not in out
    assert "b closed  3 jobs waiting · exceeded by 12.5 credits · set by ann" in out
    assert "Wait for the next day, or raise the limit" in out
    command = "budgets set b --scope 'tag:a b' --period day --time-zone Europe/Berlin"
    assert f"{command} --limit CREDITS" in out


def test_no_budgets_is_said(answering: CannedServer, bare_cli: BareCli) -> None:
    url = answering(200, json.dumps({"items": [], "next_cursor": None}))
    assert "no budgets" in bare_cli({"KNOUDS_API_URL": url})("budgets", "ls").out


def test_an_unreadable_budget_names_no_command_that_would_fail(
    answering: CannedServer, bare_cli: BareCli
) -> None:
    broken = {**SHOWN, "scope": "", "state": "unreadable", "error": "it is cut off", "set_at": None}
    url = answering(200, json.dumps({"items": [broken], "next_cursor": None}))
    out = bare_cli({"KNOUDS_API_URL": url})("budgets", "ls").out
    assert "every job" in out
    assert "it is cut off" in out
    assert "$" not in out
