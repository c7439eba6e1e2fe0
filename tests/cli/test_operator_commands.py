"""`parked`, `dead` and `holds`: what waits for a person, and what a person does about it."""

import json
from collections.abc import Callable

import pytest

from tests.cli.command_runner import Doc
from tests.cli.conftest import CannedServer, Cli, CliWorkspace
from worker.cli.exit_codes import ExitCode


def held(bench: CliWorkspace, target: str = "suno", code: str = "grant_exhausted") -> str:
    """A job that a refusal of the provider parked."""
    job_id = bench.enqueue(target, fault=code, times=1)
    bench.until(job_id, "parked")
    return job_id


def hold_of(bench: CliWorkspace) -> Doc:
    holds = bench.cli("holds", "ls", "--json").doc["items"]
    (hold,) = (hold for hold in holds if hold["scope"].split("/")[0] == bench.account)
    return dict(hold)


# parked


def test_one_parked_job_is_released_by_its_id(bench: CliWorkspace) -> None:
    job_id = bench.park()
    assert job_id in bench.cli("parked", "ls", "--account", bench.account).out
    done = bench.cli("parked", "release", job_id, "--note", "looked, is fine")
    assert done.out == f"{job_id}: queued\n"
    assert "looked, is fine" in [event["note"] for event in bench.get(job_id)["events"]]


def test_groups_say_what_to_do_and_which_command_does_it(bench: CliWorkspace) -> None:
    held(bench)
    told = bench.cli("parked", "groups").out
    where = f"--account {bench.account} --kind model --target suno"
    assert f"knouds-worker parked release --code grant_exhausted {where}" in told
    assert f"Upgrade the plan of account {bench.account}" in told
    groups = bench.cli("parked", "groups", "--json").doc["items"]
    assert [g["count"] for g in groups if g["account"] == bench.account] == [1]


def test_the_command_of_a_group_frees_it_through_its_hold(bench: CliWorkspace) -> None:
    job_id = held(bench)
    words = ("parked", "release", "--code", "grant_exhausted", "--account", bench.account)
    done = bench.cli(*words, "--note", "upgraded")
    assert done.code == ExitCode.OK
    assert "one canary first" in done.out
    assert done.out.endswith("1 job back in line\n")
    bench.until(job_id, "succeeded")


def test_a_dry_run_of_a_release_shows_counts_and_does_nothing(bench: CliWorkspace) -> None:
    job_id = held(bench)
    done = bench.cli("parked", "release", "--account", bench.account, "--dry-run")
    assert done.code == ExitCode.OK
    assert done.out.endswith("1 job would be released\n")
    assert bench.get(job_id)["state"] == "parked"
    assert hold_of(bench)["phase"] == "closed"


def test_a_hold_wider_than_asked_for_is_left_alone(bench: CliWorkspace) -> None:
    job_id = held(bench, code="INSUFFICIENT_CREDITS")
    words = ("parked", "release", "--account", bench.account, "--target", "suno")
    done = bench.cli(*words)
    assert done.out == "nothing to release\n"
    wide = f"knouds-worker parked release --code INSUFFICIENT_CREDITS --account {bench.account}\n"
    assert done.err.endswith(wide)
    assert bench.get(job_id)["state"] == "parked"


def test_an_uncertain_job_is_not_released_but_resolved(bench: CliWorkspace) -> None:
    job_id = bench.enqueue("suno", fault="drop_after", times=1)
    bench.until(job_id, "parked")
    done = bench.cli("parked", "release", "--account", bench.account)
    assert done.out == "nothing to release\n"
    assert "outcome unknown" in done.err
    refused = bench.cli("parked", "release", job_id)
    assert refused.code == ExitCode.FAILED
    assert "resolve" in refused.err
    assert bench.cli("parked", "resolve", job_id, "--resubmit").out == f"{job_id}: queued\n"
    bench.until(job_id, "succeeded")


def test_an_uncertain_job_can_be_given_up(bench: CliWorkspace) -> None:
    job_id = bench.enqueue("suno", fault="drop_after")
    bench.until(job_id, "parked")
    assert bench.cli("parked", "resolve", job_id, "--discard").out == f"{job_id}: cancelled\n"


@pytest.mark.parametrize(
    "words",
    [
        ("parked", "release"),
        ("parked", "release", "x", "--all"),
        ("parked", "resolve", "x"),
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
def test_what_is_not_clearly_asked_for_is_a_usage_error(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli(*words).code == ExitCode.USAGE


def test_a_terminal_is_asked_before_many_are_released(
    bench: CliWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.park()
    words = ("parked", "release", "--account", bench.account)
    monkeypatch.setattr("worker.cli.actions.is_terminal", lambda: True)
    refused = bench.cli(*words, stdin="n\n")
    assert refused.code == ExitCode.FAILED
    assert "Release 1 job?" in refused.err
    assert "nothing done" in refused.err
    assert bench.get(job_id)["state"] == "parked"
    assert bench.cli(*words, "--dry-run", stdin="").code == ExitCode.OK


@pytest.mark.usefixtures("bulk")
def test_parked_jobs_without_a_hold_are_released_together(bench: CliWorkspace) -> None:
    ids = [bench.park(), bench.park()]
    words = ("parked", "release", "--account", bench.account, "--code", "manual", "--yes")
    assert bench.cli(*words).out.endswith("2 jobs back in line\n")
    for job_id in ids:
        bench.until(job_id, "succeeded")


# dead


def dead(bench: CliWorkspace) -> str:
    job_id = bench.enqueue("suno", fault="INVALID_INPUTS")
    bench.until(job_id, "dead")
    return job_id


def test_a_dead_letter_goes_on_with_other_inputs(bench: CliWorkspace) -> None:
    job_id = dead(bench)
    assert job_id in bench.cli("dead", "ls", "--account", bench.account).out
    inputs = json.dumps({"sandbox": {"duration_s": 0.1}})
    done = bench.cli("dead", "requeue", job_id, "--inputs", inputs)
    assert done.out == f"{job_id}: queued\n"
    assert bench.until(job_id, "succeeded")["inputs"] == json.loads(inputs)


def test_groups_of_dead_letters_have_a_command_too(bench: CliWorkspace) -> None:
    dead(bench)
    told = bench.cli("dead", "groups").out
    assert f"--code INVALID_INPUTS --account {bench.account} --kind model --target suno" in told


def bulk_action(bench: CliWorkspace, *words: str) -> str:
    done = bench.cli("dead", *words, "--account", bench.account)
    assert done.code == ExitCode.OK, done
    return done.out


@pytest.mark.usefixtures("bulk")
@pytest.mark.parametrize(("act", "state"), [("discard", "cancelled"), ("requeue", "dead")])
def test_many_dead_letters_are_counted_then_done(bench: CliWorkspace, act: str, state: str) -> None:
    ids = [dead(bench), dead(bench)]
    assert bulk_action(bench, act, "--dry-run") == f"{act}: 2 jobs matched, nothing done\n"
    assert "2" in bulk_action(bench, act, "--note", "tidy up")
    for job_id in ids:
        job = bench.until(job_id, state)
        assert "tidy up" in [event["note"] for event in job["events"]]


def test_many_are_asked_for_by_filter_with_the_note_and_first_as_a_dry_run(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    url = answering(200, '{"matched": 3, "done": 2, "skipped": 1}')
    words = ("--code", "INVALID_INPUTS", "--note", "mended", "--patch-inputs", '{"size": "1k"}')
    done = bare_cli({"KNOUDS_API_URL": url})("dead", "requeue", *words)
    assert done.out == "requeue: 3 matched, 2 done, 1 skipped\n"
    body = {
        "filter": {"state": "dead", "code": "INVALID_INPUTS"},
        "note": "mended",
        "patch_inputs": {"size": "1k"},
    }
    assert answering.requests == [
        ("/v1/bulk/requeue", {**body, "dry_run": True}),
        ("/v1/bulk/requeue", body),
    ]


def test_a_dry_run_asks_for_nothing_but_the_count(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    cli = bare_cli({"KNOUDS_API_URL": answering(200, '{"matched": 1}')})
    done = cli("jobs", "cancel", "--batch", "b", "--dry-run")
    assert done.out == "cancel: 1 job matched, nothing done\n"
    assert [asked["dry_run"] for _, asked in answering.requests] == [True]


def test_an_answer_of_another_version_is_one_line(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    done = bare_cli({"KNOUDS_API_URL": answering(200, "{}")})("dead", "discard", "--all")
    assert done.code == ExitCode.FAILED
    assert "matched" in done.err


# holds


def test_a_pause_keeps_jobs_queued_until_it_is_released(bench: CliWorkspace) -> None:
    paused = bench.cli("holds", "set", bench.account, "--note", "maintenance")
    assert paused.code == ExitCode.OK
    hold = hold_of(bench)
    assert f"knouds-worker holds release {hold['id']}" in paused.out
    assert "maintenance" in json.dumps(hold)
    job_id = bench.enqueue("suno")
    assert "hold" in bench.cli("jobs", "why", job_id).out
    listed = bench.cli("holds", "ls").out
    assert hold["id"] in listed
    assert bench.cli("holds", "release", hold["id"]).code == ExitCode.OK
    bench.until(job_id, "succeeded")


def test_a_scope_that_is_none_is_refused(cli: Cli) -> None:
    done = cli("holds", "set", "default/models")
    assert done.code == ExitCode.FAILED
    assert done.err.startswith("knouds-worker: scope ")


def test_a_pause_is_not_released_with_the_parked(bench: CliWorkspace) -> None:
    bench.cli("holds", "set", bench.account)
    bench.cli("parked", "release", "--account", bench.account)
    assert hold_of(bench)["phase"] == "closed"


# audit


def test_the_record_tells_who_did_what_why_and_to_how_many(bench: CliWorkspace) -> None:
    job_id = bench.park()
    bench.cli("parked", "release", job_id, "--note", "for the record")
    (line,) = (
        line
        for line in bench.cli("audit", "ls", "--act", "release", "--json").doc["items"]
        if line["on"] == job_id
    )
    assert (line["note"], line["jobs"], bool(line["by"])) == ("for the record", 1, True)
    told = bench.cli("audit", "ls", "--since", "1h", "--limit", "500").out
    assert "for the record" in told
    nothing = bench.cli("audit", "ls", "--by", "nobody-at-all")
    assert nothing.out == "nothing on record\n"
