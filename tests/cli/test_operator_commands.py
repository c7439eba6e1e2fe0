"""`parked`, `dead` and `holds`: what waits for an operator, and what an operator does about it."""

import json
from collections.abc import Callable

import pytest

from tests.cli.command_runner import Doc, wait_until
from tests.cli.conftest import CannedServer, Cli, CliWorkspace
from worker.cli.exit_codes import ExitCode


def held(workspace: CliWorkspace, target: str = "suno", code: str = "grant_exhausted") -> str:
    """A job that a refusal of the provider parked."""
    job_id = workspace.enqueue(target, fault=code, times=1)
    workspace.until(job_id, "parked")
    return job_id


def holds_of(workspace: CliWorkspace) -> list[Doc]:
    holds = workspace.cli("holds", "ls", "--json").doc["items"]
    return [hold for hold in holds if hold["scope"].split("/")[0] == workspace.account]


def hold_of(workspace: CliWorkspace) -> Doc:
    (hold,) = holds_of(workspace)
    return dict(hold)


# parked


def test_one_parked_job_is_released_by_its_id(workspace: CliWorkspace) -> None:
    job_id = workspace.park()
    assert job_id in workspace.cli("parked", "ls", "--account", workspace.account).out
    done = workspace.cli("parked", "release", job_id, "--note", "checked, is fine")
    assert done.out == f"{job_id}: queued\n"
    assert "checked, is fine" in [event["note"] for event in workspace.get(job_id)["events"]]


def test_groups_say_what_to_do_and_which_command_does_it(workspace: CliWorkspace) -> None:
    held(workspace)
    output = workspace.cli("parked", "groups").out
    assert f"knouds-worker holds release {hold_of(workspace)['id']}\n" in output
    assert f"Upgrade the plan of account {workspace.account}" in output
    groups = workspace.cli("parked", "groups", "--json").doc["items"]
    assert [g["count"] for g in groups if g["account"] == workspace.account] == [1]


def test_the_command_of_a_group_releases_its_hold(workspace: CliWorkspace) -> None:
    job_id = held(workspace)
    words = ("parked", "release", "--code", "grant_exhausted", "--account", workspace.account)
    done = workspace.cli(*words, "--note", "upgraded", "--yes")
    assert done.code == ExitCode.OK
    assert "one canary first" in done.out
    assert done.out.startswith("release: 1 job matched, 1 released, through 1 hold, ")
    workspace.until(job_id, "succeeded")


LOST: Doc = {"state": "dead", "inputs": None, "payloads_hidden": False, "reason": {"code": "X"}}


@pytest.mark.parametrize(
    ("words", "job", "is_said"),
    [
        ("dead requeue", {}, True),
        ("parked release", {"state": "parked"}, True),
        ("parked resolve --resubmit", {"state": "parked"}, True),
        ("parked release", {"state": "parked", "reason": {"code": "stuck"}}, False),
        ("parked resolve --discard", {"state": "parked"}, False),
        ("dead discard", {}, False),
        ("dead requeue", {"inputs": {}}, False),
        ("dead requeue", {"payloads_hidden": True}, False),
        ("""dead requeue --inputs {"a":1}""", {}, False),
    ],
)
def test_a_dry_run_by_id_says_that_a_job_has_lost_its_inputs(
    bare_cli: Callable[[dict[str, str]], Cli],
    answering: CannedServer,
    words: str,
    job: Doc,
    *,
    is_said: bool,
) -> None:
    cli = bare_cli({"KNOUDS_API_URL": answering(200, json.dumps({**LOST, **job}))})
    done = cli(*words.split(), "j1", "--dry-run")
    state = job.get("state", "dead")
    hint = "; it has lost its inputs: it would park as inputs_lost and is not sent; enqueue it"
    assert done.out.startswith(f"j1: {state}, nothing done" + (hint if is_said else "\n"))


def test_a_dry_run_in_bulk_says_how_many_have_lost_their_inputs(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    url = answering(200, '{"matched": 3, "done": 3, "skipped": 0, "inputs_lost": 2}')
    done = bare_cli({"KNOUDS_API_URL": url})("dead", "requeue", "--code", "X", "--dry-run")
    first, second, *_ = done.out.splitlines()
    assert first == "requeue: 3 jobs matched, 3 would be requeued, 2 of them without inputs"
    assert second.startswith("without inputs: it would park as inputs_lost")


def test_a_dry_run_of_a_release_shows_counts_and_does_nothing(workspace: CliWorkspace) -> None:
    job_id = held(workspace)
    done = workspace.cli("parked", "release", "--account", workspace.account, "--dry-run")
    assert done.code == ExitCode.OK
    assert done.out.startswith("release: 1 job matched, 1 would be released, through 1 hold, ")
    assert done.out.endswith("\nnothing changed\n")
    assert workspace.get(job_id)["state"] == "parked"
    assert hold_of(workspace)["phase"] == "closed"


@pytest.mark.parametrize(
    ("options", "code", "is_parked"),
    [
        ({"fault": "INSUFFICIENT_CREDITS"}, "INSUFFICIENT_CREDITS", True),
        ({"fault": "HTTP_401"}, "HTTP_401", True),
        ({"fault": "MODEL_TIER_REQUIRED"}, "MODEL_TIER_REQUIRED", True),
        ({"fault": "HTTP_301"}, "redirected", True),
        ({"fault": "html_404"}, "not_the_api", False),
        ({"fault": "html_422"}, "not_the_api", False),
    ],
    ids=["402", "401", "403", "301", "a 404 page", "a 422 page"],
)
def test_the_command_that_is_named_for_a_hold_releases_it(
    workspace: CliWorkspace, options: Doc, code: str, *, is_parked: bool
) -> None:
    job_id = workspace.enqueue("suno", **options, times=1)
    hold = wait_until(lambda: next(iter(holds_of(workspace)), None), 15)
    assert hold["code"] == code
    listings = [("holds", "ls"), *([("parked", "groups")] if is_parked else [])]
    if is_parked:
        workspace.until(job_id, "parked")
    for listing in listings:
        assert f"  $ knouds-worker holds release {hold['id']}\n" in workspace.cli(*listing).out
    done = workspace.cli("holds", "release", hold["id"])
    assert done.code == ExitCode.OK, done
    workspace.until(job_id, "succeeded")


def test_a_hold_wider_than_asked_for_is_left_alone(workspace: CliWorkspace) -> None:
    job_id = held(workspace, code="INSUFFICIENT_CREDITS")
    workspace.enqueue("gpt-image-2")  # waits behind the same hold
    words = ("parked", "release", "--account", workspace.account, "--target", "suno")
    done = workspace.cli(*words)
    hold = hold_of(workspace)
    assert "1 job matched, 0 would be released, 1 skipped" in done.out
    assert f"skipped 1: hold {hold['id']} on {workspace.account} (INSUFFICIENT_CREDITS)" in done.out
    assert done.out.endswith("knouds-worker parked groups\nnothing changed\n")
    wide = f"knouds-worker holds release {hold['id']}\n"
    assert wide in workspace.cli("parked", "groups").out
    assert workspace.get(job_id)["state"] == "parked"


def test_an_uncertain_job_is_not_released_but_resolved(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue("suno", fault="drop_after", times=1)
    workspace.until(job_id, "parked")
    done = workspace.cli("parked", "release", "--account", workspace.account)
    assert "1 job matched, 0 would be released, 1 skipped" in done.out
    assert "outcome is unknown" in done.out
    assert done.out.endswith("\nnothing changed\n")
    refused = workspace.cli("parked", "release", job_id)
    assert refused.code == ExitCode.FAILED
    assert "resolve" in refused.err
    assert (
        workspace.cli("parked", "resolve", job_id, "--resubmit", "-y").out == f"{job_id}: queued\n"
    )
    workspace.until(job_id, "succeeded")


def test_an_uncertain_job_can_be_given_up(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue("suno", fault="drop_after")
    workspace.until(job_id, "parked")
    assert workspace.cli("parked", "resolve", job_id, "--discard").out == f"{job_id}: cancelled\n"


@pytest.mark.parametrize(
    "words",
    [
        ("parked", "release"),
        ("parked", "release", "x", "--all"),
        ("parked", "resolve", "x"),
        ("parked", "resolve", "--discard"),
        ("parked", "resolve", "x", "--cause", "HTTP_502", "--discard"),
        ("parked", "resolve", "x", "y", "--execution-id", "e"),
        ("parked", "resolve", "--cause", "HTTP_502", "--execution-id", "e"),
        ("parked", "resolve", "x", "--resubmit", "--discard"),
        ("dead", "requeue"),
        ("dead", "requeue", "x", "y", "--inputs", "{}"),
        ("dead", "requeue", "--all", "--inputs", "{}"),
        ("dead", "requeue", "x", "--patch-inputs", "{}"),
        ("dead", "discard", "x", "--code", "y"),
        ("holds", "release"),
        ("holds", "set"),
    ],
)
def test_an_ambiguous_request_is_a_usage_error(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli(*words).code == ExitCode.USAGE


def test_a_terminal_is_asked_before_a_bulk_release(
    workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = workspace.park()
    words = ("parked", "release", "--account", workspace.account)
    monkeypatch.setattr("worker.cli.actions.is_terminal", lambda: True)
    refused = workspace.cli(*words, stdin="n\n")
    assert refused.code == ExitCode.FAILED
    assert "Release 1 job?" in refused.err
    assert "nothing done" in refused.err
    assert workspace.get(job_id)["state"] == "parked"
    assert workspace.cli(*words, "--dry-run", stdin="").code == ExitCode.OK


def test_parked_jobs_without_a_hold_are_released_together(workspace: CliWorkspace) -> None:
    ids = [workspace.park(), workspace.park()]
    words = ("parked", "release", "--account", workspace.account, "--code", "manual", "--yes")
    assert workspace.cli(*words).out.startswith("release: 2 jobs matched, 2 released")
    for job_id in ids:
        workspace.until(job_id, "succeeded")


def test_uncertain_jobs_of_a_cause_are_resolved_with_one_command(workspace: CliWorkspace) -> None:
    ids = [workspace.enqueue("suno", status=502, times=1) for _ in range(2)]
    for job_id in ids:
        workspace.until(job_id, "parked")
    chosen = ("--account", workspace.account, "--cause", "HTTP_502")
    groups = workspace.cli("parked", "groups").out
    assert f"--code uncertain --cause HTTP_502 --account {workspace.account}" in groups
    preview = workspace.cli("parked", "resolve", "--resubmit", *chosen, "--dry-run")
    assert "2 jobs matched, 2 would be resubmitted" in preview.out
    unasked = workspace.cli("parked", "resolve", "--resubmit", *chosen)
    assert unasked.code == ExitCode.FAILED
    assert "there is no terminal to ask on; add --yes" in unasked.err
    assert {workspace.get(job_id)["state"] for job_id in ids} == {"parked"}
    done = workspace.cli("parked", "resolve", "--discard", *chosen, "--note", "not needed", "-y")
    assert "2 discarded" in done.out
    assert {workspace.get(job_id)["state"] for job_id in ids} == {"cancelled"}


# dead


def dead(workspace: CliWorkspace) -> str:
    job_id = workspace.enqueue("suno", fault="INVALID_INPUTS")
    workspace.until(job_id, "dead")
    return job_id


def test_a_dead_letter_is_requeued_with_other_inputs(workspace: CliWorkspace) -> None:
    job_id = dead(workspace)
    assert job_id in workspace.cli("dead", "ls", "--account", workspace.account).out
    inputs = json.dumps({"sandbox": {"duration_s": 0.1}})
    done = workspace.cli("dead", "requeue", job_id, "--inputs", inputs)
    assert done.out == f"{job_id}: queued\n"
    assert workspace.until(job_id, "succeeded")["inputs"] == json.loads(inputs)


def test_groups_of_dead_letters_have_a_command_too(workspace: CliWorkspace) -> None:
    dead(workspace)
    output = workspace.cli("dead", "groups").out
    assert (
        f"--code INVALID_INPUTS --account {workspace.account} --kind model --target suno" in output
    )


def bulk_action(workspace: CliWorkspace, *words: str) -> str:
    done = workspace.cli("dead", *words, "--account", workspace.account)
    assert done.code == ExitCode.OK, done
    return done.out


@pytest.mark.parametrize(
    ("action", "participle", "state"),
    [("discard", "discarded", "cancelled"), ("requeue", "requeued", "dead")],
)
def test_many_dead_letters_are_counted_then_done(
    workspace: CliWorkspace, action: str, participle: str, state: str
) -> None:
    ids = [dead(workspace), dead(workspace)]
    preview = bulk_action(workspace, action, "--dry-run")
    assert preview.startswith(f"{action}: 2 jobs matched, 2 would be {participle}")
    assert preview.endswith("\nnothing changed\n")
    done = bulk_action(workspace, action, "--note", "tidy up", "--yes")
    assert done.startswith(f"{action}: 2 jobs matched, 2 {participle}")
    for job_id in ids:
        job = workspace.until(job_id, state)
        assert "tidy up" in [event["note"] for event in job["events"]]


def test_a_bulk_call_has_filter_and_note_and_comes_after_a_dry_run(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    url = answering(200, '{"matched": 3, "done": 2, "skipped": 1}')
    words = ("--code", "INVALID_INPUTS", "--note", "fixed", "--patch-inputs", '{"size": "1k"}')
    done = bare_cli({"KNOUDS_API_URL": url})("dead", "requeue", *words, "--yes")
    assert done.out == "requeue: 3 jobs matched, 2 requeued, 1 skipped\n"
    body = {
        "filter": {"state": "dead", "code": "INVALID_INPUTS"},
        "note": "fixed",
        "patch_inputs": {"size": "1k"},
    }
    assert answering.requests == [
        ("/v1/bulk/requeue", {**body, "dry_run": True}),
        ("/v1/bulk/requeue", body),
    ]


def test_a_dry_run_sends_only_the_dry_run(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    cli = bare_cli({"KNOUDS_API_URL": answering(200, '{"matched": 1, "done": 1}')})
    done = cli("jobs", "cancel", "--batch", "b", "--dry-run")
    assert done.out == "cancel: 1 job matched, 1 would be cancelled\nnothing changed\n"
    assert [body["dry_run"] for _, body in answering.requests] == [True]


def test_an_answer_of_another_version_is_one_line(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    done = bare_cli({"KNOUDS_API_URL": answering(200, "{}")})("dead", "discard", "--all")
    assert done.code == ExitCode.FAILED
    assert "matched" in done.err


# holds


def test_a_pause_keeps_jobs_queued_until_it_is_released(workspace: CliWorkspace) -> None:
    paused = workspace.cli("holds", "set", workspace.account, "--note", "maintenance")
    assert paused.code == ExitCode.OK
    hold = hold_of(workspace)
    assert f"knouds-worker holds release {hold['id']}" in paused.out
    assert "maintenance" in json.dumps(hold)
    job_id = workspace.enqueue("suno")
    assert "hold" in workspace.cli("jobs", "why", job_id).out
    listed = workspace.cli("holds", "ls").out
    assert hold["id"] in listed
    assert workspace.cli("holds", "release", hold["id"]).code == ExitCode.OK
    workspace.until(job_id, "succeeded")


def test_an_invalid_scope_is_refused(cli: Cli) -> None:
    done = cli("holds", "set", "default/models")
    assert done.code == ExitCode.FAILED
    assert done.err.startswith("knouds-worker: scope ")


def test_a_pause_is_not_released_with_the_parked(workspace: CliWorkspace) -> None:
    workspace.cli("holds", "set", workspace.account)
    workspace.cli("parked", "release", "--account", workspace.account)
    assert hold_of(workspace)["phase"] == "closed"


# audit


def test_an_audit_entry_says_who_did_what_why_and_to_how_many(workspace: CliWorkspace) -> None:
    job_id = workspace.park()
    workspace.cli("parked", "release", job_id, "--note", "for the record")
    (line,) = (
        line
        for line in workspace.cli("audit", "ls", "--act", "release", "--json").doc["items"]
        if line["on"] == job_id
    )
    assert (line["note"], line["jobs"], bool(line["by"])) == ("for the record", 1, True)
    output = workspace.cli("audit", "ls", "--since", "1h", "--limit", "500").out
    assert "for the record" in output
    nothing = workspace.cli("audit", "ls", "--by", "nobody-at-all")
    assert nothing.out == "no audit entries\n"
