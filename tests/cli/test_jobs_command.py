"""`jobs`, `stats` and `watch`: reads, and actions on single jobs."""

import json
import signal
from pathlib import Path

import pytest

from tests.cli.command_runner import Program
from tests.cli.conftest import Cli, CliWorkspace
from worker.cli.exit_codes import ExitCode


def test_a_piped_list_has_full_ids_and_no_colours(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue("suno", "--id", f"{workspace.name}{'x' * 110}", "--delay", "1h")
    done = workspace.cli("jobs", "ls", "--batch", workspace.name)
    header, row = done.out.splitlines()
    assert header.split() == ["JOB", "STATE", "TARGET", "CODE", "IN", "STATE"]
    assert row.split()[:3] == [job_id, "scheduled", f"{workspace.account}/model/suno"]
    assert "\x1b" not in done.out


def test_a_cursor_continues_a_list(workspace: CliWorkspace) -> None:
    ids = {workspace.enqueue("suno", "--delay", "1h") for _ in range(3)}
    words = ("jobs", "ls", "--batch", workspace.name, "--limit", "2")
    first = workspace.cli(*words, "--json").doc
    assert f"--cursor {first['next_cursor']}" in workspace.cli(*words).out
    second = workspace.cli(*words, "--cursor", first["next_cursor"], "--json").doc
    assert {job["id"] for job in [*first["items"], *second["items"]]} == ids


def test_a_list_can_be_filtered_by_time(workspace: CliWorkspace) -> None:
    workspace.enqueue("suno", "--delay", "1h")
    words = ("jobs", "ls", "--batch", workspace.name, "--json")
    assert len(workspace.cli(*words, "--since", "1h").doc["items"]) == 1
    assert not workspace.cli(*words, "--until", "1h").doc["items"]


def test_json_is_the_exact_response_of_the_api(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue("suno", "--delay", "1h")
    done = workspace.cli("jobs", "get", job_id, "--json")
    assert done.out.count("\n") == 1
    assert json.dumps(done.doc, separators=(",", ":"), ensure_ascii=False) == done.out.strip()


def test_a_job_s_page_shows_its_timeline(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue("suno", fault="EXECUTION_FAILED", times=1)
    workspace.until(job_id, "succeeded")
    page = workspace.cli("jobs", "get", job_id).out
    for expected in (job_id, "succeeded", "EXECUTION_FAILED", "enqueue", "retry", "succeed", "ago"):
        assert expected in page


@pytest.mark.parametrize(
    ("fault", "state", "command"),
    [
        ("INVALID_INPUTS", "dead", "dead requeue {id} --inputs @inputs.json"),
        ("MODEL_NOT_FOUND", "dead", "dead discard {id}"),
        ("drop_after", "parked", "parked resolve {id} --execution-id ID"),
        ("grant_exhausted", "parked", "holds release {hold}"),
    ],
)
def test_a_job_s_page_has_the_next_command(
    workspace: CliWorkspace, fault: str, state: str, command: str
) -> None:
    job_id = workspace.enqueue("suno", fault=fault)
    job = workspace.until(job_id, state)
    page = workspace.cli("jobs", "get", job_id).out
    typed = command.format(id=job_id, hold=job["reason"]["hold_id"])
    assert f"knouds-worker {typed}" in page
    assert job["reason"]["action"] in page


def test_why_names_what_blocks_the_job(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue("suno", "--delay", "1h")
    done = workspace.cli("jobs", "why", job_id)
    assert "scheduled for later in" in done.out
    assert workspace.cli("jobs", "why", job_id, "--json").doc["blockers"][0]["kind"] == "schedule"


def test_a_job_that_does_not_exist_is_one_line(cli: Cli) -> None:
    for verb in ("get", "why", "cancel", "park"):
        done = cli("jobs", verb, "no/such?job")
        assert done.code == ExitCode.FAILED
        assert done.err.count("\n") == 1
        assert "no/such?job" in done.err


def test_a_refused_cancel_does_not_stop_the_others(workspace: CliWorkspace) -> None:
    first, last = (
        workspace.enqueue("suno", "--delay", "1h"),
        workspace.enqueue("suno", "--delay", "1h"),
    )
    done = workspace.cli("jobs", "cancel", first, "nowhere", last, "--note", "changed my mind")
    assert done.code == ExitCode.FAILED
    assert done.out.splitlines() == [f"{first}: cancelled", f"{last}: cancelled"]
    assert done.err.startswith("nowhere: ")
    assert "changed my mind" in workspace.cli("jobs", "get", last).out


def test_a_dry_run_of_a_cancel_does_nothing(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue("suno", "--delay", "1h")
    done = workspace.cli("jobs", "cancel", job_id, "--dry-run")
    assert done.out == f"{job_id}: scheduled, nothing done\n"
    assert workspace.get(job_id)["state"] == "scheduled"


def test_ids_and_a_filter_together_are_a_usage_error(cli: Cli) -> None:
    assert cli("jobs", "cancel").code == ExitCode.USAGE
    assert cli("jobs", "cancel", "x", "--batch", "y").code == ExitCode.USAGE


def test_stats_count_jobs_and_workers(workspace: CliWorkspace) -> None:
    workspace.enqueue("suno", "--delay", "1h")
    done = workspace.cli("stats")
    assert "scheduled" in done.out
    assert "1 worker" in done.out
    assert workspace.cli("stats", "--json").doc["states"]["scheduled"] >= 1


def test_watch_prints_changes_when_piped(cli: Cli) -> None:
    done = cli("watch", "--count", "3", "--every", "0.1")
    assert done.code == ExitCode.OK
    assert len(done.out.splitlines()) >= 1
    updates = cli("watch", "--count", "2", "--every", "0.1", "--json").out.splitlines()
    assert [set(json.loads(update)) for update in updates] == [set(json.loads(updates[0]))] * 2


def test_ctrl_c_ends_a_watch(workspace: CliWorkspace, tmp_path: Path) -> None:
    workspace.enqueue("suno", "--delay", "1h")
    program = Program("watch", cwd=tmp_path, KNOUDS_API_URL=workspace.url)
    program.until("scheduled")
    assert program.end(signal.SIGINT) == ExitCode.OK
    assert "Traceback" not in program.output


def test_jobs_are_edited_by_id(workspace: CliWorkspace) -> None:
    job_id = workspace.enqueue("suno", "--delay", "1h", "--tag", "a")
    words = ("jobs", "edit", job_id, "--priority", "9", "--no-tags", "--start-by", "2h")
    assert workspace.cli(*words).out == f"{job_id}: edited, scheduled\n"
    job = workspace.get(job_id)
    assert (job["priority"], job["tags"]) == (9, [])
    assert job["start_by"]
    done = workspace.cli("jobs", "edit", "nothing", job_id, "--start-by", "none")
    assert (done.code, done.out) == (ExitCode.FAILED, f"{job_id}: edited, scheduled\n")
    assert "there is no job 'nothing'" in done.err
    assert workspace.get(job_id)["start_by"] is None
    assert workspace.cli("jobs", "edit", job_id, "--note", "x").code == ExitCode.USAGE
