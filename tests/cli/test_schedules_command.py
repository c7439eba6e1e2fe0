"""`schedules`: set one, run it, see what it does, switch it, remove it; and wrong values."""

import json
from collections.abc import Callable

import pytest

from tests.cli.command_runner import Doc
from tests.cli.conftest import CannedServer, Cli, CliWorkspace
from worker.cli.exit_codes import ExitCode

BareCli = Callable[[dict[str, str]], Cli]

RUN: Doc = {
    "id": "schedule:nightly:20260131T020000Z",
    "state": "succeeded",
    "code": None,
    "tick": "2026-01-31T02:00:00.000Z",
    "created_at": "2026-01-31T02:00:01.000Z",
    "finished_at": "2026-01-31T02:00:09.000Z",
    "cost": 3.0,
}
SHOWN: Doc = {
    "name": "nightly",
    "tenant": "",
    "cron": "0 3 * * *",
    "time_zone": "Europe/Berlin",
    "job": {"kind": "model", "target": "suno", "inputs": {"prompt": "\x1b[31mred"}},
    "overlap": "skip",
    "catch_up": "last",
    "enabled": True,
    "next_ticks": ["2026-03-28T02:00:00.000Z", "2026-03-29T01:00:00.000Z"],
    "last_run": RUN,
    "last_skip": {
        "cause": "overlap",
        "tick": "2026-01-30T02:00:00.000Z",
        "count": 2,
        "at": "2026-01-30T02:00:01.000Z",
        "message": "job-1",
    },
    "runs": [RUN, RUN | {"id": "schedule:nightly:run:1", "tick": None, "cost": None}],
    "why": [{"kind": "hold", "text": "hold on default", "action": "Release it"}],
    "error": "",
    "set_by": "ann",
    "set_at": "2026-01-29T02:00:00.000Z",
    "note": "agreed \x1b[31mwith sales",
}


def test_a_schedule_is_set_run_shown_switched_and_removed(workspace: CliWorkspace) -> None:
    job = {"kind": "model", "target": "nano-banana-2", "account": workspace.account}
    words = ("schedules", "set", workspace.name, "--cron", "0 3 * * *", "--note", "try it")
    done = workspace.cli(*words, "--job", json.dumps({**job, "inputs": {"prompt": "x"}}))
    assert done.code == ExitCode.OK, done.err
    assert f"{workspace.name}: 0 3 * * * (UTC), next tick " in done.out
    assert f"schedules show {workspace.name}" in done.out
    started = workspace.cli("schedules", "run", workspace.name, "--json")
    workspace.until(started.doc["id"], "succeeded")
    shown = workspace.cli("schedules", "show", workspace.name).out
    assert started.doc["id"] in shown
    for text in ("by hand", "succeeded", "try it", f"{workspace.account}/model/nano-banana-2"):
        assert text in shown
    listed = workspace.cli("schedules", "ls").out
    assert workspace.name in listed
    off = workspace.cli("schedules", "disable", workspace.name, "--note", "holidays")
    assert (off.code, "disabled" in off.out) == (ExitCode.OK, True)
    assert "schedules enable" in workspace.cli("schedules", "show", workspace.name).out
    on = workspace.cli("schedules", "enable", workspace.name, "--json")
    assert (on.doc["enabled"], len(on.doc["next_ticks"])) == (True, 5)
    asked = workspace.cli("schedules", "rm", workspace.name)
    assert (asked.code, "add --yes" in asked.err) == (ExitCode.FAILED, True)
    removed = workspace.cli("schedules", "rm", workspace.name, "--yes", "--note", "done")
    assert (removed.code, removed.out) == (ExitCode.OK, f"{workspace.name}: removed\n")
    gone = workspace.cli("schedules", "rm", workspace.name, "--yes")
    assert (gone.code, "there is no schedule" in gone.err) == (ExitCode.FAILED, True)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"--cron": "0 0 30 2 *"}, ExitCode.FAILED, "cron never comes: the day of month 30 is in"),
        ({"--cron": "@daily"}, ExitCode.FAILED, "cron has 1 field and must have 5"),
        ({"--job": "{"}, ExitCode.USAGE, "'--job'"),
        ({"--job": "[]"}, ExitCode.USAGE, "a JSON object is needed"),
        ({"--job": "{}"}, ExitCode.FAILED, "job.kind is missing"),
        ({"--overlap": "queue"}, ExitCode.USAGE, "'skip', 'enqueue'"),
        ({"--catch-up": "some"}, ExitCode.USAGE, "'none', 'last', 'all'"),
        ({"--time-zone": "Mars/Olympus"}, ExitCode.FAILED, "time_zone 'Mars/Olympus' is not"),
        ({"NAME": "Loud Name"}, ExitCode.FAILED, "name must be 1 to 64 lowercase letters"),
    ],
)
def test_a_wrong_value_is_named_with_the_fix(
    workspace: CliWorkspace, changes: dict[str, str], code: ExitCode, text: str
) -> None:
    job = '{"kind": "model", "target": "suno", "inputs": {}}'
    given = {"NAME": "b", "--cron": "0 3 * * *", "--job": job} | changes
    words = [word for pair in given.items() for word in pair][1:]
    done = workspace.cli("schedules", "set", *words)
    assert (done.code, text in " ".join(done.err.split())) == (code, True), done.err


def test_a_schedule_is_shown_in_its_own_time(answering: CannedServer, bare_cli: BareCli) -> None:
    out = bare_cli({"KNOUDS_API_URL": answering(200, json.dumps(SHOWN))})(
        "schedules", "show", "nightly"
    ).out
    assert "\x1b" not in out
    for text in (
        "0 3 * * * (Europe/Berlin)",
        "Sat 2026-03-28 03:00 CET",
        "Sun 2026-03-29 03:00 CEST",
        "2 ticks up to Fri 2026-01-30 03:00 CET: an earlier run was not finished (job-1)",
        "hold: hold on default",
        "Release it",
        "by hand",
    ):
        assert text in out
    assert "jobs get schedule:nightly:20260131T020000Z" in out


def test_broken_and_disabled_schedules_and_none_are_said(
    answering: CannedServer, bare_cli: BareCli
) -> None:
    broken: Doc = SHOWN | {
        "cron": "",
        "time_zone": "Mars/Olympus",
        "job": {},
        "error": "it is cut off",
        "last_run": None,
        "last_skip": None,
        "set_at": None,
    }
    rows: list[Doc] = [broken, SHOWN | {"enabled": False, "next_ticks": []}]
    url = answering(200, json.dumps({"items": rows, "next_cursor": None}))
    out = bare_cli({"KNOUDS_API_URL": url})("schedules", "ls").out
    assert "it is cut off" in out
    assert "disabled" in out
    url = answering(200, json.dumps(broken | {"runs": [], "why": []}))
    page = bare_cli({"KNOUDS_API_URL": url})("schedules", "show", "nightly").out
    assert "no runs on record" in page
    assert "Sat 2026-03-28 02:00 UTC" in page
    url = answering(200, json.dumps({"items": [], "next_cursor": None}))
    assert "no schedules" in bare_cli({"KNOUDS_API_URL": url})("schedules", "ls").out
