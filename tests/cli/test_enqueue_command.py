"""`enqueue` and `batch`: requests from the command line, files and standard input."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, CliWorkspace
from worker.cli.exit_codes import ExitCode


def test_a_job_has_every_option_of_its_request(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue(
        "suno",
        *("--id", f"{workspace.name}-1", "--priority", "7", "--tag", "a", "--tag", "b"),
        *("--run-at", "2030-01-31T18:00:00Z", "--max-attempts", "3", "--on-uncertain", "retry"),
        *("--start-by", "2030-02-01T18:00:00Z", "--fair-key", f"{workspace.name}-ann"),
        *("--metadata", '{"order": "order-1234567"}'),
    )
    job = workspace.get(job_id)
    assert job_id == f"{workspace.name}-1"
    assert (job["state"], job["kind"], job["target"]) == ("scheduled", "model", "suno")
    assert (job["priority"], job["tags"], job["batch"]) == (7, ["a", "b"], workspace.name)
    assert job["max_attempts"] == 3
    assert job["fair_key"] == f"{workspace.name}-ann"
    listed = workspace.cli("jobs", "ls", "--json", "--fair-key", f"{workspace.name}-ann").out
    assert [one["id"] for one in json.loads(listed)["items"]] == [job_id]
    assert job["start_by"] == "2030-02-01T18:00:00.000Z"
    assert job["metadata"] == {"order": "order-1234567"}
    assert "order-1234567" in workspace.cli("jobs", "get", job_id).out
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
