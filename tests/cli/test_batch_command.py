"""`batch` and `batches`: files of jobs, their results, and what happens when it is interrupted."""

import io
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_runner import Program, call, wait_until
from tests.cli.conftest import CannedServer, Cli, CliWorkspace, Site
from worker.cli import batch_run
from worker.cli.api_client import ApiClient, ApiResponse, TooManyRequests
from worker.cli.batch_file import BatchLine, LineReader, opened_text
from worker.cli.batch_output import OutputBusy, ResultFile
from worker.cli.batch_run import BatchRun
from worker.cli.exit_codes import ApiUnreachable, ExitCode, RedisUnreachable

LATER = '{"kind": "model", "target": "suno", "inputs": {}, "delay_s": 3600}\n'


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# Lines.


def read_lines(
    text: str, form: str = "json_lines", **defaults: object
) -> tuple[list[BatchLine], dict[int, str]]:
    errors: dict[int, str] = {}
    given = {"kind": "model", "target": "suno"} | defaults
    reader = LineReader("b", given, errors.__setitem__)
    if form == "csv":
        return list(reader.csv_rows(io.StringIO(text, newline=""))), errors
    return list(reader.json_lines(text.splitlines(keepends=True))), errors


def test_a_line_is_inputs_or_a_request() -> None:
    lines, errors = read_lines('{"prompt": "a"}\n{"inputs": {"x": 1}, "priority": 5}\n')
    assert not errors
    assert [line.request["inputs"] for line in lines] == [{"prompt": "a"}, {"x": 1}]
    assert [line.request.get("priority") for line in lines] == [None, 5]
    assert {line.request["batch"] for line in lines} == {"b"}


def test_an_id_is_of_the_content_and_how_often_it_came() -> None:
    first, _ = read_lines('{"p": 1}\n{"p": 2}\n{"p": 1}\n')
    ids = [line.job_id for line in first]
    assert len(set(ids)) == 3
    again, _ = read_lines('{"new": 0}\n{"p": 1}\n{"p": 2}\n\n{ "p":1 }\n')
    assert [line.job_id for line in again][1:] == ids
    other, _ = read_lines('{"p": 1}\n', target="flux")
    assert other[0].job_id not in ids
    own, _ = read_lines('{"id": "mine", "inputs": {}}\n')
    assert own[0].job_id == "mine"


def test_a_broken_line_stops_no_other() -> None:
    lines, errors = read_lines('{"p": 1}\n{"p": \n[1]\n{"p": 2}\n')
    assert [line.number for line in lines] == [1, 4]
    assert set(errors) == {2, 3}


def test_csv_has_quoted_line_ends_json_columns_and_empty_cells() -> None:
    rows = ("prompt,count:json,style", '"two\nlines, ""quoted""",3,', "x,nope,y", "a,b", ",,")
    text = "\r\n".join([*rows, "z,null,s\r\n"])
    lines, errors = read_lines(text, "csv")
    assert [line.request["inputs"] for line in lines] == [
        {"prompt": 'two\nlines, "quoted"', "count": 3},
        {"prompt": "z", "count": None, "style": "s"},
    ]
    assert set(errors) == {4, 5}
    assert "count:json" in errors[4]
    assert [line.number for line in lines] == [2, 7]


@pytest.mark.parametrize("text", ["", "a,a\n1,2\n", "a,\n1,2\n", 'a\n"open\n2', 'a\n"op\n"x"'])
def test_csv_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"first row|line 2"):
        read_lines(text, "csv")


def test_a_line_without_a_target_says_what_to_give() -> None:
    errors: dict[int, str] = {}
    reader = LineReader("b", {}, errors.__setitem__)
    assert list(reader.json_lines(['{"prompt": "a"}'])) == []
    assert "--model or --workflow" in errors[1]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    errors: dict[int, str] = {}
    reader = LineReader("b", {"kind": "model", "target": "suno"}, errors.__setitem__)
    text = opened_text(io.BytesIO(b'\xef\xbb\xbfprompt\r\n"a\nb"\r\n'))
    lines = list(reader.csv_rows(text))
    assert [line.request["inputs"] for line in lines] == [{"prompt": "a\nb"}]


# Waiting for the API.


class AnsweringApi(ApiClient):
    """An API that gives these answers, and fails where one is an exception."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[Any] = []

    async def post_idempotent(self, *path: str, body: dict[str, Any]) -> ApiResponse:
        del path
        self.bodies.append(body)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return ApiResponse(200, "", answer)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_run, "POLL_S", 0.0)
    monkeypatch.setattr(batch_run, "LIMIT_PAUSE_S", 0.0)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    "error", [ApiUnreachable("away"), RedisUnreachable("away"), TooManyRequests("slowly", 429)]
)
async def test_an_api_that_is_away_is_waited_for(error: Exception) -> None:
    lines, _ = read_lines('{"p": 1}\n')
    api = AnsweringApi(error, {}, error, {"results": [{"status": 202}]}, error, {})
    run = BatchRun("b", None, is_terminal=False)
    await run.send(api, iter(lines))
    assert (run.enqueued, api.answers) == (1, [])
    assert [sorted(body) for body in api.bodies] == [["name"]] * 2 + [["jobs"]] * 2 + [[]] * 2


@pytest.mark.usefixtures("no_pauses")
async def test_an_api_that_stays_away_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_run, "OUTAGE_S", -1.0)
    run = BatchRun("b", None, is_terminal=False)
    with pytest.raises(ApiUnreachable):
        await run.send(AnsweringApi(ApiUnreachable("away")), iter(()))


@pytest.mark.usefixtures("no_pauses")
async def test_lines_beyond_a_limit_are_sent_again_alone() -> None:
    lines, _ = read_lines('{"p": 1}\n{"p": 2}\n{"p": 3}\n')
    first: list[dict[str, Any]] = [{"status": 202}, {"status": 429}, {"status": 200}]
    api = AnsweringApi({}, {"results": first}, {"results": [{"status": 202}]}, {})
    run = BatchRun("b", None, is_terminal=False)
    await run.send(api, iter(lines))
    assert (run.enqueued, run.duplicates, run.refused) == (2, 1, 0)
    again = api.bodies[2]["jobs"]
    assert [job["inputs"] for job in again] == [{"p": 2}]


# The file of results.


def test_a_result_is_written_once_and_a_cut_line_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    one = {"id": "a", "state": "succeeded"}
    with ResultFile(path) as found:
        assert found.append([one, {"id": "b", "state": "dead"}]) == 2
        assert found.append([one]) == 0
    with path.open("ab") as stream:
        stream.write(b'{"id": "c", "sta')
    with ResultFile(path) as found:
        assert found.states == {"a": "succeeded", "b": "dead"}
        rows = [{"id": "c", "state": "dead"}, {"id": "b", "state": "succeeded"}]
        assert found.append(rows) == 2
        found.sort({"c": 1, "b": 2, "a": 3})
    assert [(row["id"], row["state"]) for row in rows_of(path)] == [
        ("c", "dead"),
        ("b", "succeeded"),
        ("a", "succeeded"),
    ]


def test_one_command_at_a_time_writes_a_file(tmp_path: Path) -> None:
    with ResultFile(tmp_path / "out.jsonl"), pytest.raises(OutputBusy, match=r"out\.jsonl"):
        ResultFile(tmp_path / "out.jsonl").__enter__()


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    with pytest.raises(ValueError, match="no result"):
        ResultFile(path).__enter__()
    assert path.read_text() == "my notes\n"


# The command.


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
    words = ("--name", workspace.name, "--model", "suno", "--account", workspace.account)
    done = workspace.cli("batch", "jobs.jsonl", *words)
    assert done.code == ExitCode.FAILED
    assert done.out.splitlines()[0] == "2 enqueued, 3 refused"
    errors = dict(line.split(": ", 1) for line in done.err.splitlines() if line.startswith("line"))
    assert set(errors) == {"line 3", "line 4", "line 6"}
    assert "priority" in errors["line 3"]
    assert "flavour" in errors["line 6"]
    batch = workspace.cli("batches", "show", workspace.name, "--json").doc
    assert (batch["state"], batch["total"]) == ("open", 2), "it can be corrected and sent again"


def test_results_are_written_as_they_come_in_order_and_once(
    workspace: CliWorkspace, tmp_path: Path
) -> None:
    runs = [{"sandbox": {"duration_s": 0.3 - 0.1 * n}, "n": n} for n in range(3)]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))
    words = ["batch", "jobs.jsonl", "--name", workspace.name, "--model", "gpt-image-2"]
    words += ["--account", workspace.account, "--out", "out.jsonl", "--in-order"]
    done = workspace.cli(*words)
    assert done.code == ExitCode.OK, done
    assert "3 succeeded" in done.out
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["line"] for row in rows] == [1, 2, 3]
    assert all(row["state"] == "succeeded" and row["result"] for row in rows)
    again = workspace.cli(*words)
    assert again.out.splitlines()[0] == "0 enqueued, 3 were enqueued before"
    assert rows_of(tmp_path / "out.jsonl") == rows
    shown = workspace.cli("batches", "show", workspace.name).out
    assert "complete" in shown
    listed = workspace.cli("batches", "results", workspace.name).out.splitlines()
    assert {json.loads(line)["id"] for line in listed} == {row["id"] for row in rows}


def test_the_exit_code_says_whether_jobs_died_or_wait(
    workspace: CliWorkspace, tmp_path: Path
) -> None:
    label = workspace.name
    dead = {"sandbox": {"label": f"{label}-d", "fault": "invalid_inputs"}}
    parked = {"sandbox": {"label": f"{label}-p", "fault": "drop_after"}}
    for name, run, code in (
        ("p", parked, ExitCode.PARKED),
        ("d", dead, ExitCode.NOT_SUCCEEDED),
    ):
        (tmp_path / "jobs.jsonl").write_text(json.dumps(run))
        words = ("--name", f"{label}-{name}", "--model", "suno", "--out", f"{name}.jsonl")
        done = workspace.cli("batch", "jobs.jsonl", *words, "--account", workspace.account)
        assert done.code == code, done
    assert rows_of(tmp_path / "p.jsonl") == []
    assert [row["state"] for row in rows_of(tmp_path / "d.jsonl")] == ["dead"]
    requeued = workspace.cli("batches", "requeue-failed", f"{label}-d", "--yes")
    assert "1 job requeued" in requeued.out


def test_an_interrupted_batch_is_run_again_without_a_second_job(
    workspace: CliWorkspace, tmp_path: Path, site: Site
) -> None:
    runs = [{"sandbox": {"duration_s": 0.1}, "n": n} for n in range(40)]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))
    words = ["batch", "jobs.jsonl", "--name", workspace.name, "--model", "gpt-image-2"]
    words += ["--account", workspace.account, "--out", "out.jsonl"]
    for number in (signal.SIGKILL, signal.SIGINT):
        program = Program(*words, cwd=tmp_path, KNOUDS_API_URL=site.url)
        wait_for_output(tmp_path / "out.jsonl")
        program.end(number)
    done = call(*words, cwd=tmp_path, KNOUDS_API_URL=site.url)
    assert done.returncode == ExitCode.OK, done
    rows = rows_of(tmp_path / "out.jsonl")
    assert sorted(row["line"] for row in rows) == list(range(1, 41))
    batch = workspace.cli("batches", "show", workspace.name, "--json").doc
    assert (batch["total"], batch["states"]["succeeded"]) == (40, 40)


def wait_for_output(path: Path) -> None:
    wait_until(path.exists, 20.0, lambda: f"no {path}")


def test_more_lines_than_a_call_may_have_are_sent_in_several(workspace: CliWorkspace) -> None:
    done = workspace.cli("batch", "-", "--name", workspace.name, stdin=LATER * 1_001)
    assert done.code == ExitCode.OK
    assert done.out.splitlines()[0] == "1001 enqueued"
    cancelled = workspace.cli("batches", "cancel", workspace.name, "--yes").out
    assert "1,001 jobs cancelled, now complete" in cancelled


def test_a_call_is_bounded_by_the_bytes_that_are_sent_not_by_characters(
    bare_cli: Callable[[dict[str, str]], Cli],
    answering: CannedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.cli.batch_feed.MAX_CALL_BYTES", 1_000)
    line = json.dumps({"prompt": "ä" * 100}, ensure_ascii=False)  # 600 bytes in JSON
    url = answering(200, '{"results": [{"status": 202}]}')
    words = ("batch", "-", "--name", "b", "--model", "suno")
    done = bare_cli({"KNOUDS_API_URL": url})(*words, stdin=f"{line}\n{line}\n")
    assert done.out.splitlines()[0] == "2 enqueued"
    sent = [len(body["jobs"]) for _, body in answering.requests if "jobs" in body]
    assert sent == [1, 1]


def test_a_dry_run_checks_every_line_and_sends_nothing(workspace: CliWorkspace) -> None:
    stdin = '{"kind": "model", "target": "suno", "inputs": {}}\nnonsense\n'
    done = workspace.cli("batch", "-", "--name", workspace.name, "--dry-run", stdin=stdin)
    assert done.code == ExitCode.FAILED
    assert done.out.startswith("1 lines can be sent, 1 are refused; ")
    assert workspace.cli("batches", "show", workspace.name).code == ExitCode.FAILED


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-",), "--name"),
        (("-", "--name", "b", "--model", "x", "--workflow", "y"), "not both"),
        (("-", "--name", "b", "--in-order"), "--out"),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(
    cli: Cli, words: tuple[str, ...], message: str
) -> None:
    done = cli("batch", *words, stdin="{}\n")
    assert done.code == ExitCode.USAGE
    assert message in done.err
