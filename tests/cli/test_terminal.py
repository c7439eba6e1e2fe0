"""Output on a terminal: tables that fit, full ids, colours, and a question."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.cli.command_runner import command_line, environ
from tests.cli.conftest import CliWorkspace
from worker.cli.exit_codes import ExitCode

_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def on_terminal(
    *words: str, url: str, folder: Path, width: int, keyboard_input: str = ""
) -> tuple[int, str]:
    """Run a command on a terminal of this width, with something typed ahead."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    env = environ(KNOUDS_API_URL=url, TERM="xterm-256color")
    for name in (
        "NO_COLOR",
        "FORCE_COLOR",
        "COLUMNS",
        "LINES",
    ):  # they would override the terminal
        env.pop(name, None)
    with subprocess.Popen(
        command_line(*words), cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, keyboard_input.encode())
        output = b""
        try:
            while block := os.read(ours, 65_536):
                output += block
        except OSError:  # the other side is closed
            pass
        finally:
            os.close(ours)
        return process.wait(30), output.decode().replace("\r", "")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_table_fits_and_cuts_no_id(workspace: CliWorkspace, tmp_path: Path, width: int) -> None:
    ids = [workspace.park(), workspace.enqueue("seedance-2-0-full-access", "--delay", "1h")]
    words = ("jobs", "ls", "--batch", workspace.name)
    code, output = on_terminal(*words, url=workspace.url, folder=tmp_path, width=width)
    assert code == ExitCode.OK
    assert "\x1b[" in output
    lines = _CODES.sub("", output).splitlines()
    assert max(map(len, lines)) <= width
    for job_id in ids:
        assert job_id in "".join(lines)
    assert "…" not in output


def test_a_command_to_copy_stays_on_one_line(workspace: CliWorkspace, tmp_path: Path) -> None:
    job_id = workspace.enqueue("seedance-2-0-full-access", fault="grant_exhausted")
    workspace.until(job_id, "parked")
    code, output = on_terminal("parked", "groups", url=workspace.url, folder=tmp_path, width=60)
    assert code == ExitCode.OK
    holds = workspace.cli("holds", "ls", "--json").doc["items"]
    (hold,) = (hold for hold in holds if hold["scope"].startswith(f"{workspace.account}/"))
    wanted = f"  $ knouds-worker holds release {hold['id']}"
    assert wanted in _CODES.sub("", output).splitlines()


@pytest.mark.parametrize(
    ("typed", "code"),
    [("n\n", ExitCode.FAILED), ("\x04", ExitCode.INTERRUPTED)],  # no, and the end of input
)
def test_a_release_of_many_asks_first(
    workspace: CliWorkspace, tmp_path: Path, typed: str, code: ExitCode
) -> None:
    job_id = workspace.park()
    words = ("parked", "release", "--account", workspace.account)
    got, output = on_terminal(
        *words, url=workspace.url, folder=tmp_path, width=80, keyboard_input=typed
    )
    assert got == code, output
    assert workspace.get(job_id)["state"] == "parked"
    assert "Traceback" not in output


def test_a_watch_draws_in_place(workspace: CliWorkspace, tmp_path: Path) -> None:
    words = ("watch", "--count", "3", "--every", "0.1")
    code, output = on_terminal(*words, url=workspace.url, folder=tmp_path, width=80)
    assert code == ExitCode.OK
    assert output.count("succeeded ") >= 2  # one update over the other
    assert "1 worker" in output
