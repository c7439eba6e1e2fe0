"""`batch FILE` with input that is broken or slow, and with results that cannot be written."""

import errno
import io
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_runner import call, command_line, environ, wait_until
from tests.cli.conftest import CannedServer, Cli, CliWorkspace
from worker.cli.batch_feed import LineFeed
from worker.cli.batch_file import BatchLine, LineReader, opened_text
from worker.cli.batch_output import OutputFailed, ResultFile
from worker.cli.exit_codes import ExitCode

BareCli = Callable[[dict[str, str]], Cli]

NOTHING_LISTENS = {"KNOUDS_API_URL": "http://127.0.0.1:1"}


def rows(count: int) -> list[bytes]:
    return [b'{"prompt": "%d"}' % number for number in range(1, count + 1)]


def read_csv(data: bytes) -> tuple[list[int], dict[int, str], str]:
    """The numbers of its rows, what was reported of others, and what ended the reading."""
    errors: dict[int, str] = {}
    reader = LineReader("b", {"kind": "model", "target": "suno"}, errors.__setitem__)
    numbers: list[int] = []
    try:
        numbers.extend(line.number for line in reader.csv_rows(opened_text(io.BytesIO(data))))
    except ValueError as error:
        return numbers, errors, str(error)
    return numbers, errors, ""


def sent_jobs(server: CannedServer) -> int:
    return sum(len(body["jobs"]) for _, body in server.requests if "jobs" in body)


def answer(count: int) -> str:
    return json.dumps({"results": [{"status": 202}] * count})


# Broken lines.


def test_a_line_that_is_not_utf8_stops_no_other(
    bare_cli: BareCli, answering: CannedServer, tmp_path: Path
) -> None:
    lines = rows(40)
    lines[19] = b'{"prompt": "caf\xe9"}'
    (tmp_path / "j.jsonl").write_bytes(b"\n".join(lines))
    url = answering(200, "{}", answer(39))
    done = bare_cli({"KNOUDS_API_URL": url})("batch", "j.jsonl", "--model", "suno")
    assert done.code == ExitCode.FAILED
    assert done.out.splitlines()[0] == "39 enqueued, 1 refused"
    assert done.err.startswith("line 20: it is not UTF-8")


def test_a_row_that_is_not_utf8_or_has_a_stray_quote_stops_no_other() -> None:
    numbers, errors, end = read_csv(b'a,b\n1,2\ncaf\xe9,2\n"x"y,2\n"z",2\n')
    assert (numbers, end) == ([2, 5], "")
    assert set(errors) == {3, 4}
    assert "UTF-8" in errors[3]
    assert "quote" in errors[4]


def test_an_unclosed_quote_is_named_by_its_own_line() -> None:
    start = b'a,b\n"two\nlines ""x""",1\n'
    assert read_csv(start + b'"open,2\n""more"" text\nlast,3\n')[2].startswith("line 4: a quote")
    assert read_csv(start + b'"open,2\n"x","y"\nlast,3\n')[2].startswith("line 4: the row")
    numbers, errors, _ = read_csv(start + b'"open,2')
    assert numbers == [2]
    assert set(errors) == {4}


def test_the_rows_before_an_unclosed_quote_are_sent(
    bare_cli: BareCli, answering: CannedServer, tmp_path: Path
) -> None:
    texts = ["prompt", *(f'"{n}' if n == 50 else str(n) for n in range(2, 101))]
    (tmp_path / "j.csv").write_text("\n".join(texts))
    url = answering(200, "{}", answer(48))
    done = bare_cli({"KNOUDS_API_URL": url})("batch", "j.csv", "--model", "suno")
    assert done.code == ExitCode.FAILED
    assert "j.csv: line 50: a quote opens here" in done.err
    assert "the 48 lines before it are sent" in done.err
    assert sent_jobs(answering) == 48


# Dry runs.


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"prompt,prompt\n1,2\n", "no name twice"),
        (b'prompt\n"a\nb\n', "line 2: a quote"),
        (b"prompt\xe9\n1\n", "not UTF-8"),
    ],
)
def test_a_dry_run_of_a_broken_file_ends_in_one_line(
    bare_cli: BareCli, tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "j.csv").write_bytes(data)
    done = bare_cli(NOTHING_LISTENS)("batch", "j.csv", "--model", "suno", "--dry-run")
    assert done.code == ExitCode.FAILED
    [line] = done.err.splitlines()
    assert message in line
    assert line.endswith("nothing sent")


def test_a_dry_run_without_an_api_ends_in_one_line(bare_cli: BareCli, tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_bytes(b"\n".join(rows(20)))
    done = bare_cli(NOTHING_LISTENS)("batch", "j.jsonl", "--model", "suno", "--dry-run")
    assert done.code == ExitCode.NO_API
    [line] = done.err.splitlines()
    assert "no API at" in line


# Slow input.


async def test_a_line_is_handed_on_while_the_next_one_is_awaited() -> None:
    is_over = threading.Event()

    def lines() -> Iterator[BatchLine]:
        for number in (1, 2):
            yield BatchLine(number, {"id": str(number)}, 10)
        is_over.wait(30)
        yield BatchLine(3, {"id": "3"}, 10)

    sent: list[list[int]] = []
    with LineFeed(lines()) as feed:
        async for call in feed.calls():
            sent.append([line.number for line in call])
            is_over.set()
    assert sent == [[1, 2], [3]]


def test_results_are_written_before_standard_input_ends(
    workspace: CliWorkspace, tmp_path: Path
) -> None:
    words = ["batch", "-", "--name", workspace.name, "--model", "gpt-image-2"]
    words += ["--account", workspace.account, "--out", "out.jsonl"]
    program = subprocess.Popen(
        command_line(*words),
        cwd=tmp_path,
        env=environ(KNOUDS_API_URL=workspace.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdin is not None
    out = tmp_path / "out.jsonl"
    try:
        for count in (1, 2):
            run = {"sandbox": {"duration_s": 0.1}, "n": count}
            program.stdin.write(json.dumps(run).encode() + b"\n")
            program.stdin.flush()
            wait_until(lambda n=count: out.exists() and out.read_bytes().count(b"\n") == n)  # type: ignore[misc]
        printed, errors = program.communicate(timeout=30)
    finally:
        program.kill()
    assert program.returncode == ExitCode.OK, errors
    assert printed.decode().splitlines()[0] == "2 enqueued"
    assert [json.loads(line)["line"] for line in out.read_text().splitlines()] == [1, 2]


# Results that cannot be written.


@pytest.mark.parametrize("out", ["/dev/full", "/dev/null", "-", "pipe"])
def test_out_is_a_regular_file(tmp_path: Path, out: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "j.jsonl").write_bytes(b"{}")
    words = ("batch", "j.jsonl", "--model", "suno", "--out", out)
    done = call(*words, cwd=tmp_path, KNOUDS_API_URL="http://127.0.0.1:1")
    assert done.returncode == ExitCode.FAILED
    [line] = done.stderr.splitlines()
    assert "--out needs a regular file" in line
    assert not (tmp_path / "-").exists()


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> Any:
        del number
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        ResultFile(tmp_path / "out.jsonl") as results,
        pytest.raises(OutputFailed, match=r"cannot write .*out\.jsonl: No space left"),
    ):
        results.append([{"id": "a", "state": "dead"}])
