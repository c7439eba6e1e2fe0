"""Every exit code means what `--help` says, and an expected failure is one line."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from tests.cli.command_runner import (
    ROOT,
    WITHIN_S,
    CommandOutcome,
    Program,
    call,
    command_line,
    environ,
)
from tests.cli.conftest import CannedServer, Cli, CliWorkspace
from worker.cli.exit_codes import EXIT_MEANINGS, ExitCode
from worker.cli.main import SECTIONS, commands

Under = Callable[[dict[str, str]], Cli]


def nowhere() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_help_documents_every_exit_code(bare_cli: Under) -> None:
    help_text = bare_cli({})("--help").out
    assert set(EXIT_MEANINGS) == set(ExitCode)
    for code, meaning in EXIT_MEANINGS.items():
        assert f"{int(code)}  {meaning}" in help_text


def test_the_list_of_commands_is_true() -> None:
    context = click.Context(commands)
    for section in SECTIONS.values():
        for name, entry in section.items():
            command = commands.get_command(context, name)
            assert command is not None
            assert command.name == name
            assert command.short_help == entry.help


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = "{'rich', 'aiohttp', 'pydantic', 'asyncio', 'redis', 'config', 'jobs'}"
    program = (
        "import sys; from worker.cli.main import commands\n"
        "try: commands(['--help'])\n"
        f"except SystemExit: sys.exit(str({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [*command_line()[:2], "-c", program],
        cwd=tmp_path,
        env=environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "set()\n"


def test_an_unknown_command_is_a_usage_error(bare_cli: Under) -> None:
    done = bare_cli({})("jbos")
    assert done.code == ExitCode.USAGE
    assert "jbos" in done.err


def test_an_unreachable_api_names_the_address_and_the_remedy(bare_cli: Under) -> None:
    url = nowhere()
    done = bare_cli({"KNOUDS_API_URL": url})("stats")
    assert done.code == ExitCode.NO_API
    assert done.err.count("\n") == 1
    assert url in done.err
    assert "knouds-worker up" in done.err


@pytest.mark.parametrize(
    ("status", "body"), [(200, "<html>"), (404, "not here"), (200, "[]"), (0, "")]
)
def test_another_program_at_the_address_is_no_api(
    bare_cli: Under, answering: CannedServer, status: int, body: str
) -> None:
    done = bare_cli({"KNOUDS_API_URL": answering(status, body)})("stats")
    assert done.code == ExitCode.NO_API
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("body", ['{"detail": "the store does not answer"}', "<html>", ""])
def test_a_503_means_no_redis(bare_cli: Under, answering: CannedServer, body: str) -> None:
    done = bare_cli({"KNOUDS_API_URL": answering(503, body)})("stats")
    assert done.code == ExitCode.NO_REDIS
    assert done.err.count("\n") == 1


def test_a_refused_token_says_which_setting(bare_cli: Under, answering: CannedServer) -> None:
    url = answering(401, '{"title": "Unauthorized", "detail": "send a token"}')
    done = bare_cli({"KNOUDS_API_URL": url})("stats")
    assert done.code == ExitCode.FAILED
    assert done.err == "knouds-worker: send a token (set KNOUDS_API_TOKEN)\n"


def test_a_wrong_setting_is_named(bare_cli: Under) -> None:
    done = bare_cli({"KNOUDS_HTTP_PORT": "many"})("stats")
    assert done.code == ExitCode.SETTINGS
    assert done.err.startswith("knouds-worker: KNOUDS_HTTP_PORT: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("service", ["worker", "api", "up"])
def test_services_refuse_wrong_settings_alike(tmp_path: Path, service: str) -> None:
    done = call(service, cwd=tmp_path, KNOUDS_MAX_JBOS="3")
    assert done.returncode == ExitCode.SETTINGS
    assert "did you mean KNOUDS_MAX_JOBS?" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "setting", [{"KNOUDS_CA_FILE": "empty.pem"}, {"HTTPS_PROXY": "socks5://127.0.0.1:1080"}]
)
def test_a_worker_refuses_a_way_to_the_provider_that_it_cannot_use(
    tmp_path: Path, setting: dict[str, str]
) -> None:
    (name,) = setting
    (tmp_path / "empty.pem").write_text("no certificate")
    setting |= {"KNOUDS_API_KEY": "knouds_live_x", "KNOUDS_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = call("worker", cwd=tmp_path, within_s=WITHIN_S, **setting)
    assert done.returncode == ExitCode.SETTINGS
    assert done.stderr.startswith(f"knouds-worker: {name}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("service", ["worker", "api"])
def test_services_need_a_redis(tmp_path: Path, service: str) -> None:
    done = call(service, cwd=tmp_path, KNOUDS_API_KEY="knouds_live_x")
    assert done.returncode == ExitCode.SETTINGS
    assert "KNOUDS_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def api(folder: Path, **settings: str) -> Generator[str]:
    """The API as a process of its own."""
    program = Program("api", cwd=folder, KNOUDS_HTTP_PORT="0", **settings)
    try:
        yield program.until(r'"url": "([^"]+)"')[1]
    finally:
        assert program.end(signal.SIGTERM) == ExitCode.OK, program.output


def test_an_api_without_redis_is_distinguished_from_no_api(bare_cli: Under, tmp_path: Path) -> None:
    with api(tmp_path, KNOUDS_REDIS_URL="redis://127.0.0.1:1/0") as url:
        assert bare_cli({"KNOUDS_API_URL": url})("stats").code == ExitCode.NO_REDIS


def test_a_token_may_do_what_its_role_says(
    bare_cli: Under, tmp_path: Path, redis_url: str, lent_namespace: str
) -> None:
    tokens = "app:read:read-read-read-read,ann:operate:operate-operate-1"
    settings = {"KNOUDS_REDIS_URL": redis_url, "KNOUDS_NAMESPACE": lent_namespace}
    with api(tmp_path, KNOUDS_API_TOKENS=tokens, **settings) as url:

        def run(token: str, *words: str) -> CommandOutcome:
            return bare_cli({"KNOUDS_API_URL": url, "KNOUDS_API_TOKEN": token})(*words)

        assert run("", "stats").code == ExitCode.FAILED
        assert "KNOUDS_API_TOKEN" in run("", "stats").err
        assert run("read-read-read-read", "stats").code == ExitCode.OK
        refused = run("read-read-read-read", "holds", "set", "default")
        assert refused.code == ExitCode.FAILED
        assert "role" in refused.err
        assert run("operate-operate-1", "holds", "set", "default").code == ExitCode.OK
        holds = run("read-read-read-read", "holds", "ls", "--json").doc["items"]
        assert [hold["created_by"] for hold in holds] == ["ann"]


def test_a_foreign_package_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("raise RuntimeError('was run')\n")
    done = subprocess.run(
        command_line("--help"),
        cwd=tmp_path,
        env=environ(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)])),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith("knouds-worker: package 'config' would be loaded from")
    assert done.stderr.count("\n") == 1


def test_a_refusal_names_the_field(workspace: CliWorkspace) -> None:
    done = workspace.cli("enqueue", "model", "No Such Name", "--inputs", "{}")
    assert done.code == ExitCode.FAILED
    assert done.err.startswith("knouds-worker: target ")
    assert done.err.count("\n") == 1


def test_messages_from_outside_cannot_control_the_terminal(
    bare_cli: Under, answering: CannedServer
) -> None:
    url = answering(422, '{"detail": "\\u001b[2Jgone\\u0007\\nsecond line"}')
    done = bare_cli({"KNOUDS_API_URL": url})("stats")
    assert "\x1b" not in done.err
    assert done.err.count("\n") == 1


def test_interrupted_is_130(workspace: CliWorkspace, tmp_path: Path) -> None:
    job_id = workspace.enqueue("suno", "--delay", "1h")
    words = ["enqueue", "model", "suno", "--id", f"{job_id}-w", "--inputs", "{}", "--delay", "1h"]
    program = Program(*words, "--wait", cwd=tmp_path, **_settings(workspace))
    program.until("scheduled")
    assert program.end(signal.SIGINT) == ExitCode.INTERRUPTED
    assert f"knouds-worker jobs get {job_id}-w" in program.output
    assert "Traceback" not in program.output


def _settings(workspace: CliWorkspace) -> dict[str, str]:
    return {"KNOUDS_API_URL": workspace.url}


def test_a_closed_pipe_is_no_error(workspace: CliWorkspace, tmp_path: Path) -> None:
    workspace.enqueue("suno", "--delay", "1h")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command_line("jobs", "ls"),
        cwd=tmp_path,
        env=environ(**_settings(workspace)),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.stderr == ""
