"""`up`: everything on one machine, supervised while it runs and gone when it stops."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import psutil
import pytest

from tests.cli.command_runner import Doc, Program, call, environ, wait_until
from tests.cli.conftest import Cli, Site
from worker.cli.exit_codes import ExitCode
from worker.cli.up.demo.scenarios import SCENARIOS


@contextmanager
def up(folder: Path, *words: str, **settings: str) -> Generator[Program]:
    """`up` in a folder of its own; it is stopped after the test."""
    program = Program("up", *words, cwd=folder, **{"KNOUDS_HTTP_PORT": "0", **settings})
    try:
        yield program
    finally:
        program.end(signal.SIGKILL)
        for child in children_of(folder):
            child.kill()


def children_of(folder: Path) -> list[psutil.Process]:
    """Every process whose current folder is in `folder`."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            where = process.cwd()
        except psutil.Error:
            continue
        if where.startswith(str(folder)) and process.pid != os.getpid():
            found.append(process)
    return found


def is_server(process: psutil.Process) -> bool:
    """Whether it is the embedded Redis, or the Valkey in its place."""
    return process.name().endswith("-server")


def until_up(program: Program) -> str:
    return program.until(r"Everything is up.*export KNOUDS_API_URL=(\S+)")[1]


def stats(url: str) -> Doc:
    with urllib.request.urlopen(f"{url}/v1/stats", timeout=5) as answer:  # noqa: S310
        found: Doc = json.load(answer)
        return found


def run_line(line: str, folder: Path, url: str) -> str:
    """Run a command that was printed to be copied."""
    program, *words = shlex.split(line)
    if program == "knouds-worker":
        done = call(*words, cwd=folder, KNOUDS_API_URL=url)
        assert done.returncode == 0, done
        return done.stdout
    assert program == "curl"
    url, body = words[1], words[3]
    request = urllib.request.Request(url, body.encode())  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return str(answer.read())


def test_the_demo_shows_every_outcome_and_ends(tmp_path: Path) -> None:
    done = call("up", "--demo", "--exit", cwd=tmp_path, within_s=45, KNOUDS_HTTP_PORT="0")
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    assert f"{len(SCENARIOS)} of {len(SCENARIOS)} ended as expected" in done.stdout
    rows = dict(re.findall(r"^(\S+) .*\b(ok|NO)$", done.stdout, re.MULTILINE))
    assert rows == {scene.name: "ok" for scene in SCENARIOS}
    assert "\x1b" not in done.stdout
    assert not children_of(tmp_path)


def test_a_second_demo_on_the_same_folder_works_and_its_commands_release_what_is_parked(
    tmp_path: Path,
) -> None:
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state" / "demo.count").write_text("1\n")
    with up(tmp_path, "--demo") as program:
        program.until(r"Still running: ")
        url = until_up(program)
        lines = re.findall(r"^  \$ (.*)$", program.output, re.MULTILINE)
        assert len(lines) == 9
        for line in lines:
            run_line(line, tmp_path, url)

        def settled() -> bool:
            states = stats(url)["states"]
            left = {name: n for name, n in states.items() if n}
            return left == {"succeeded": len(SCENARIOS) - 2, "cancelled": 1, "dead": 1}

        wait_until(lambda: settled() or None, complaint=lambda: str(stats(url)["states"]))
        assert program.end() == ExitCode.OK, program.output
        assert not children_of(tmp_path)


def test_a_second_up_on_the_same_folder_is_refused(site: Site, tmp_path: Path) -> None:
    done = call("up", cwd=tmp_path, KNOUDS_STATE_DIR=str(site.state_dir))
    assert done.returncode == ExitCode.FAILED
    assert "another `knouds-worker up`" in done.stderr
    assert "KNOUDS_STATE_DIR" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_names_the_setting(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = call("up", cwd=tmp_path, KNOUDS_HTTP_PORT=port)
        assert done.returncode == ExitCode.FAILED
        assert done.stderr.startswith("knouds-worker: KNOUDS_HTTP_PORT: cannot listen on ")
        assert done.stderr.count("\n") == 1
        assert not children_of(tmp_path)


def test_a_redis_that_cannot_be_reached_is_reported_in_one_line(tmp_path: Path) -> None:
    redis = "redis://127.0.0.1:1/0"
    done = call("up", cwd=tmp_path, KNOUDS_HTTP_PORT="0", KNOUDS_REDIS_URL=redis)
    assert done.returncode == ExitCode.FAILED
    assert "Redis" in done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not children_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("KNOUDS_HTTP_HOST", "::"), ("KNOUDS_BASE_URL", "https://example.com")]
)
def test_settings_that_cannot_work_are_named_at_once(tmp_path: Path, name: str, value: str) -> None:
    done = call("up", cwd=tmp_path, within_s=30, **{name: value})
    assert done.returncode == ExitCode.SETTINGS
    assert name in done.stderr
    assert done.stderr.count("\n") == 1


def test_exit_needs_a_demo_with_a_sandbox(cli: Cli, tmp_path: Path) -> None:
    assert cli("up", "--exit").code == ExitCode.USAGE
    done = call("up", "--demo", "--exit", cwd=tmp_path, KNOUDS_API_KEY="knouds_live_x")
    assert done.returncode == ExitCode.USAGE
    assert "KNOUDS_API_KEY" in done.stderr


def test_with_a_key_no_demo_is_sent(tmp_path: Path) -> None:
    words = [sys.executable, "-P", "-m", "worker.sandbox", "--port", "0"]
    with subprocess.Popen(
        words, cwd="/", env=environ(), stdout=subprocess.PIPE, text=True
    ) as provider:
        assert provider.stdout is not None
        base = provider.stdout.readline().split()[3]
        key = "knouds_live_sandbox"
        with up(tmp_path, "--demo", KNOUDS_API_KEY=key, KNOUDS_BASE_URL=base) as program:
            program.until("no demo batch is sent")
            assert not any(stats(until_up(program))["states"].values())
            assert program.end() == ExitCode.OK
            assert base in program.output
        provider.terminate()


class _Elsewhere(BaseHTTPRequestHandler):
    """Redirects under `/moved`, else it is a page."""

    def do_GET(self) -> None:
        is_moved = self.path.startswith("/moved")
        self.send_response(301 if is_moved else 200)
        if is_moved:
            self.send_header("Location", f"https://knouds.example{self.path}")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><html>welcome</html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (
            "/moved",
            (
                "knouds-worker: KNOUDS_BASE_URL redirects elsewhere (HTTP 301): set"
                " KNOUDS_BASE_URL to https://knouds.example"
            ),
        ),
        (
            "",
            (
                "knouds-worker: what answers at KNOUDS_BASE_URL is not the Knouds API (HTTP 200):"
                " set KNOUDS_BASE_URL to the address of the Knouds API"
            ),
        ),
    ],
    ids=["redirects", "is a page"],
)
def test_a_base_url_that_is_not_the_api_is_named_in_one_line(
    tmp_path: Path, path: str, line: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as elsewhere:
        Thread(target=elsewhere.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{elsewhere.server_address[1]}{path}"
        with up(tmp_path, KNOUDS_API_KEY="knouds_live_x", KNOUDS_BASE_URL=base) as program:
            program.until("restart the workers, then release the holds")
            assert program.end() == ExitCode.OK
        elsewhere.shutdown()
    said = " ".join(program.output.split())
    assert said.count(line) == 1
    assert said.count("KNOUDS_BASE_URL") == line.count("KNOUDS_BASE_URL")


def test_what_dies_is_reported_and_restarted(tmp_path: Path) -> None:
    with up(tmp_path) as program:
        url = until_up(program)
        (first,) = stats(url)["workers"]
        psutil.Process(first["pid"]).kill()
        program.until(r"worker ended by itself \(SIGKILL")

        def another() -> bool:
            return any(worker["pid"] != first["pid"] for worker in stats(url)["workers"])

        wait_until(lambda: another() or None)
        call("holds", "set", "default", cwd=tmp_path, KNOUDS_API_URL=url)
        (server,) = (p for p in children_of(tmp_path) if is_server(p))
        server.kill()
        program.until(r"redis ended by itself")

        def back_on_its_port() -> bool:
            done = call("stats", "--json", cwd=tmp_path, KNOUDS_API_URL=url)
            return done.returncode == 0 and json.loads(done.stdout)["holds"] == 1

        wait_until(lambda: back_on_its_port() or None)
        assert program.end() == ExitCode.OK, program.output


def test_no_other_user_sees_a_secret(tmp_path: Path) -> None:
    """Command lines are public; the folders of the run are closed, an earlier one too."""
    (tmp_path / ".state").mkdir(mode=0o755)
    (tmp_path / ".state" / "up.lock").touch()
    with up(tmp_path) as program:
        until_up(program)
        running = children_of(tmp_path)
        environments = [p.environ() for p in running if not is_server(p)]
        secrets = {
            environment[name]
            for environment in environments
            for name in ("KNOUDS_WEBHOOK_SECRET", "SANDBOX_WEBHOOK_SECRET", "KNOUDS_REDIS_URL")
            if name in environment
        }
        assert len(secrets) == 2
        password = urlsplit((tmp_path / ".state/redis.url").read_text().strip()).password
        assert password
        for shown in (*(word for p in running for word in p.cmdline()), program.output):
            assert not any(secret in shown for secret in (*secrets, password))
        assert not any(p.net_connections("inet") for p in running if is_server(p))
        for folder in (".state", ".state/logs", ".state/redis"):
            assert (tmp_path / folder).stat().st_mode & 0o077 == 0, folder


def test_when_up_is_killed_its_processes_end_by_themselves(tmp_path: Path) -> None:
    with up(tmp_path) as program:
        until_up(program)
        services = [p for p in children_of(tmp_path) if not is_server(p)]
        assert len(services) == 4  # itself, sandbox, worker, API
        program.end(signal.SIGKILL)
        wait_until(lambda: not any(p.is_running() for p in services) or None)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    with up(tmp_path, KNOUDS_SHUTDOWN_GRACE_S="60") as program:
        url = until_up(program)
        inputs = json.dumps({"sandbox": {"duration_s": 120}})
        words = ("enqueue", "model", "nano-banana-2", "--inputs", inputs)
        call(*words, cwd=tmp_path, KNOUDS_API_URL=url)
        wait_until(lambda: stats(url)["workers"][0]["sync_runs"] or None)
        program.send(signal.SIGINT)
        program.until("press Ctrl-C again to stop at once")
        assert program.end(signal.SIGINT, within_s=15) == ExitCode.INTERRUPTED
        assert not children_of(tmp_path)
