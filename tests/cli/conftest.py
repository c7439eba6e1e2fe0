"""Everything on one machine, started once by `up`, and commands that are called against it."""

import json
import threading
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
from click.testing import CliRunner

from tests.cli.command_runner import CommandOutcome, Doc, Program, wait_until
from worker.cli.main import commands
from worker.cli.up.plan import DEMO_COUNT_FILE

ACCOUNTS = 200
"""Accounts of earlier demos: the sandbox's keys under labels of their own, one for each test."""


class Cli(Protocol):
    """Calls a command."""

    def __call__(self, *words: str, stdin: str | None = None) -> CommandOutcome: ...


@dataclass(frozen=True, slots=True)
class Site:
    """The whole program, running."""

    program: Program
    url: str
    state_dir: Path


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    folder = tmp_path_factory.mktemp("site")
    state_dir = folder / "state"
    state_dir.mkdir()
    (state_dir / DEMO_COUNT_FILE).write_text(str(ACCOUNTS))
    program = Program(
        "up",
        cwd=folder,
        KNOUDS_HTTP_PORT="0",
        KNOUDS_STATE_DIR=str(state_dir),
        KNOUDS_RETRY_BASE_S="0.05",
        KNOUDS_POLL_MIN_S="0.1",
    )
    try:
        url = program.until(r"Everything is up.*export KNOUDS_API_URL=(\S+)")[1]
        yield Site(program, url, state_dir)
    finally:
        assert program.end() == 0, program.output


@pytest.fixture
def bare_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Cli]:
    """Commands in an empty folder, with only these settings."""

    def under(settings: dict[str, str]) -> Cli:
        def run(*words: str, stdin: str | None = None) -> CommandOutcome:
            with monkeypatch.context() as patch:
                patch.chdir(tmp_path)
                result = CliRunner().invoke(commands, list(words), input=stdin, env=settings)
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise result.exception
            return CommandOutcome(result.exit_code, result.stdout, result.stderr)

        return run

    return under


@pytest.fixture
def cli(site: Site, bare_cli: Callable[[dict[str, str]], Cli]) -> Cli:
    """Commands against the running program."""
    return bare_cli({"KNOUDS_API_URL": site.url})


@dataclass(slots=True)
class CliWorkspace:
    """An account, a batch and ids that no other test uses."""

    cli: Cli
    url: str
    account: str
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")

    def enqueue(self, target: str, *more: str, kind: str = "model", **options: Any) -> str:
        """Enqueue a job whose run behaves as `options` say; returns its id."""
        label = uuid.uuid4().hex  # the sandbox counts a fault's times by it
        inputs = json.dumps({"sandbox": {"label": label, "duration_s": 0.1, **options}})
        words = ["--account", self.account, "--batch", self.name, "--json", *more]
        done = self.cli("enqueue", kind, target, "--inputs", inputs, *words)
        assert done.code == 0, done
        return str(done.doc["id"])

    def get(self, job_id: str) -> Doc:
        done = self.cli("jobs", "get", job_id, "--json")
        assert done.code == 0, done
        return done.doc

    def until(self, job_id: str, *states: str) -> Doc:
        """Wait until a job is in one of these states."""
        jobs: list[Doc] = []

        def find() -> Doc | None:
            jobs.append(self.get(job_id))
            return jobs[-1] if jobs[-1]["state"] in states else None

        return wait_until(find, 15, complaint=lambda: f"not {states}: {jobs[-1]}")

    def park(self) -> str:
        """A job that an operator parked."""
        job_id = self.enqueue("suno", "--delay", "1h")
        assert self.cli("jobs", "park", job_id, "--note", "check first").code == 0
        return job_id


_accounts = iter(range(2, ACCOUNTS + 1))


@pytest.fixture
def workspace(cli: Cli, site: Site) -> CliWorkspace:
    return CliWorkspace(cli, site.url, f"demo-{next(_accounts)}")


class CannedServer(Protocol):
    """Sends the bodies in turn, the last one again and again, and records the requests."""

    requests: list[tuple[str, Doc]]

    def __call__(self, status: int, *bodies: str) -> str: ...


class _CannedServer:
    def __init__(self) -> None:
        self.requests: list[tuple[str, Doc]] = []
        self.servers: list[ThreadingHTTPServer] = []

    def __call__(self, status: int, *bodies: str) -> str:
        requests, left = self.requests, list(bodies)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                requests.append((self.path, json.loads(self.rfile.read(size) or b"{}")))
                if status == 0:
                    self.close_connection = True
                    return
                body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            do_POST = do_GET  # noqa: N815 - the server's own naming
            do_DELETE = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                del format, args

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def answering() -> Generator[CannedServer]:
    """An HTTP server with one response to every request; a status of 0 closes the connection."""
    answers = _CannedServer()
    yield answers
    for server in answers.servers:
        server.shutdown()
        server.server_close()
