"""`enqueue` and `batch`: requests from the command line, files and standard input."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import CannedServer, Cli, CliWorkspace
from worker.cli.exit_codes import ExitCode


def test_a_job_has_every_option_of_its_request(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue(
        "suno",
        *("--id", f"{workspace.name}-1", "--priority", "7", "--tag", "a", "--tag", "b"),
        *("--run-at", "2030-01-31T18:00:00Z", "--max-attempts", "3", "--on-uncertain", "retry"),
    )
    job = workspace.get(job_id)
    assert job_id == f"{workspace.name}-1"
    assert (job["state"], job["kind"], job["target"]) == ("scheduled", "model", "suno")
    assert (job["priority"], job["tags"], job["batch"]) == (7, ["a", "b"], workspace.name)
    assert job["max_attempts"] == 3
    assert job["scheduled_for"] == "2030-01-31T18:00:00.000Z"


def test_the_same_request_under_the_same_id_is_one_job(workspace: CliWorkspace) -> None:
    words = ("enqueue", "model", "suno", "--inputs", "{}", "--id", workspace.name, "--delay", "1h")
    assert workspace.cli(*words).out == f"{workspace.name}: scheduled\n"
    assert workspace.cli(*words).out == f"{workspace.name}: scheduled (it was enqueued before)\n"


def test_another_request_under_the_same_id_is_refused(workspace: CliWorkspace) -> None:
    words = ("enqueue", "model", "suno", "--id", workspace.name, "--delay", "1h", "--inputs")
    assert workspace.cli(*words, "{}").code == ExitCode.OK
    done = workspace.cli(*words, '{"prompt": "other"}')
    assert done.code == ExitCode.FAILED
    assert workspace.name in done.err
    assert done.err.startswith("knouds-worker: id: ")


def test_wait_ends_with_the_result(workspace: CliWorkspace) -> None:
    inputs = json.dumps({"sandbox": {"duration_s": 0.2, "result": {"text": "done [bold]"}}})
    words = (
        "enqueue",
        "model",
        "suno",
        "--account",
        workspace.account,
        "--inputs",
        inputs,
        "--wait",
    )
    done = workspace.cli(*words)
    assert done.code == ExitCode.OK
    assert '{"text": "done [bold]"}' in done.out
    assert workspace.cli(*words, "--json").doc["state"] == "succeeded"


def test_wait_has_a_separate_exit_code_for_a_job_that_did_not_succeed(
    workspace: CliWorkspace,
) -> None:
    inputs = json.dumps({"sandbox": {"fault": "INVALID_INPUTS"}})
    words = ("enqueue", "model", "suno", "--account", workspace.account, "--inputs", inputs)
    done = workspace.cli(*words, "--wait")
    assert done.code == ExitCode.NOT_SUCCEEDED
    assert "knouds-worker dead requeue" in done.out


def test_inputs_come_from_a_file_or_standard_input(workspace: CliWorkspace, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"prompt": "a cat"}')
    words = ("enqueue", "model", "suno", "--delay", "1h", "--json", "--inputs")
    assert workspace.cli(*words, "@in.json").doc["inputs"] == {"prompt": "a cat"}
    assert workspace.cli(*words, "-", stdin='{"prompt": "ä"}').doc["inputs"] == {"prompt": "ä"}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON object is needed"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1, "a": 2}', "twice"),
        ("@nowhere.json", "cannot read nowhere.json"),
    ],
)
def test_invalid_inputs_are_a_usage_error(cli: Cli, inputs: str, message: str) -> None:
    done = cli("enqueue", "model", "suno", "--inputs", inputs)
    assert done.code == ExitCode.USAGE
    assert message in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--delay", "soon"), "15m"),
        (("--run-at", "2h"), "--delay"),
        (("--run-at", "whenever"), "2026-01-31T18:00"),
        (("--run-at", "2040-01-01", "--delay", "5"), "not both"),
        (("--priority", "101"), "-100"),
        ((), "--inputs"),
    ],
)
def test_invalid_options_are_usage_errors(cli: Cli, options: tuple[str, ...], message: str) -> None:
    inputs = ("--inputs", "{}") if options else ()
    done = cli("enqueue", "model", "suno", *inputs, *options)
    assert done.code == ExitCode.USAGE
    assert message in done.err


# batch


def test_every_line_becomes_a_job_and_a_bad_one_does_not_stop_the_others(
    workspace: CliWorkspace, tmp_path: Path
) -> None:
    lines = [
        '{"inputs": {"prompt": "1"}}',
        "",
        '{"inputs": {}, "priority": 500}',
        "nonsense",
        '{"inputs": {"prompt": "2"}, "kind": "workflow", "target": "my-pipeline"}',
        '{"inputs": {}, "flavour": "x"}',
    ]
    (tmp_path / "jobs.jsonl").write_text("\n".join(lines))
    words = ("--batch", workspace.name, "--kind", "model", "--target", "suno")
    done = workspace.cli("batch", "jobs.jsonl", *words, "--account", workspace.account)
    assert done.code == ExitCode.FAILED
    assert done.out.splitlines()[0] == "2 enqueued, 3 refused"
    errors = dict(line.split(": ", 1) for line in done.err.splitlines())
    assert set(errors) == {"line 3", "line 4", "line 6"}
    assert "priority" in errors["line 3"]
    assert "flavour" in errors["line 6"]
    listed = workspace.cli("jobs", "ls", "--batch", workspace.name, "--json").doc["items"]
    assert {(job["kind"], job["target"]) for job in listed} == {
        ("model", "suno"),
        ("workflow", "my-pipeline"),
    }


def test_a_file_with_an_id_prefix_can_be_sent_again(
    workspace: CliWorkspace, tmp_path: Path
) -> None:
    line = '{"kind": "model", "target": "suno", "inputs": {}, "delay_s": 3600}\n'
    (tmp_path / "jobs.jsonl").write_text(line * 3)
    words = ("batch", "jobs.jsonl", "--id-prefix", workspace.name)
    assert workspace.cli(*words).out == "3 enqueued\n"
    assert workspace.cli(*words).out == "0 enqueued, 3 were enqueued before\n"
    assert workspace.get(f"{workspace.name}-3")["state"] == "scheduled"


def test_more_lines_than_a_call_may_have_are_sent_in_several(workspace: CliWorkspace) -> None:
    line = '{"kind": "model", "target": "suno", "inputs": {}, "delay_s": 3600}\n'
    done = workspace.cli("batch", "-", "--batch", workspace.name, "--json", stdin=line * 1_001)
    assert done.code == ExitCode.OK
    assert [result["line"] for result in done.doc["results"]] == list(range(1, 1_002))
    assert {result["status"] for result in done.doc["results"]} == {202}


def test_a_call_is_bounded_by_the_bytes_that_are_sent_not_by_characters(
    bare_cli: Callable[[dict[str, str]], Cli],
    answering: CannedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.cli.commands.batch.MAX_CALL_BYTES", 1_000)
    line = json.dumps({"inputs": {"prompt": "ä" * 100}}, ensure_ascii=False)  # 600 bytes in JSON
    url = answering(200, '{"results": [{"status": 202}]}')
    done = bare_cli({"KNOUDS_API_URL": url})("batch", "-", stdin=f"{line}\n{line}\n")
    assert done.out == "2 enqueued\n"
    assert [len(body["jobs"]) for _, body in answering.requests] == [1, 1]


def test_a_dry_run_reads_and_sends_nothing(workspace: CliWorkspace) -> None:
    stdin = '{"kind": "model", "target": "suno", "inputs": {}}\nnonsense\n'
    done = workspace.cli("batch", "-", "--batch", workspace.name, "--dry-run", stdin=stdin)
    assert done.code == ExitCode.FAILED
    assert done.out == "1 lines are JSON objects, 1 are not; nothing sent\n"
    assert not workspace.cli("jobs", "ls", "--batch", workspace.name, "--json").doc["items"]


WARNED = {"code": "missing_field", "field": "inputs.x", "message": "inputs.x is \x1b[31mmissing"}


def test_a_dry_run_shows_the_estimate_and_warnings_and_enqueues_nothing(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    answer = {"kind": "workflow", "target": "shots", "account": "default", "est_cost": 16.0}
    url = answering(200, json.dumps({**answer, "warnings": [WARNED]}))
    words = ("enqueue", "workflow", "shots", "--inputs", "{}", "--dry-run")
    cli = bare_cli({"KNOUDS_API_URL": url})
    done = cli(*words)
    assert done.out == "would enqueue default/workflow/shots: about 16 credits\n"
    assert done.err == "warning: inputs.x is �[31mmissing\n"
    assert [path for path, _ in answering.requests] == ["/v1/jobs/dry-run"]
    url = answering(200, json.dumps({**answer, "est_cost": None, "warnings": []}))
    cli = bare_cli({"KNOUDS_API_URL": url})
    done = cli(*words)
    assert (done.out, done.err) == ("would enqueue default/workflow/shots: cost unknown\n", "")
    assert cli(*words, "--wait").code == ExitCode.USAGE
    assert cli(*words, "--json").doc["est_cost"] is None


def test_warnings_of_an_enqueue_go_to_standard_error(
    bare_cli: Callable[[dict[str, str]], Cli], answering: CannedServer
) -> None:
    url = answering(202, json.dumps({"id": "j1", "state": "queued", "warnings": [WARNED]}))
    done = bare_cli({"KNOUDS_API_URL": url})("enqueue", "workflow", "shots", "--inputs", "{}")
    assert done.out == "j1: queued\n"
    assert done.err.startswith("warning: inputs.x is ")
