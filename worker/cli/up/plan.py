"""What `up` starts, and the environment of each process: decided before anything runs."""

import contextlib
import fcntl
import json
import socket
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.settings import Settings, SettingsError
from config.values import Role
from worker.cli.exit_codes import CommandFailure
from worker.redis.private_folder import make_private, open_lock
from worker.sandbox.config import DEFAULT_KEY

LOCK_FILE: Final = "up.lock"
DEMO_COUNT_FILE: Final = "demo.count"

STUDIO_KEY: Final = "knouds_live_business"
"""A sandbox user of its own: the demo sets its credits to 0."""

DEMO_POLL_MIN_S: Final = 0.25
DEMO_RETRY_BASE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class DemoAccounts:
    """The accounts of one demo. Each demo has its own, so that no earlier hold stops its jobs."""

    demo: str
    studio: str


def demo_accounts(number: int) -> DemoAccounts:
    """The accounts of the n-th demo in a state folder, from 1."""
    tail = "" if number <= 1 else f"-{number}"
    return DemoAccounts(f"demo{tail}", f"studio{tail}")


def sandbox_accounts(demo_count: int) -> dict[str, str]:
    """Keys by account for every demo so far: its parked jobs may still be released."""
    demos = [demo_accounts(number) for number in range(1, demo_count + 1)]
    return {d.demo: DEFAULT_KEY for d in demos} | {d.studio: STUDIO_KEY for d in demos}


def count_demos(settings: Settings, *, is_demo: bool) -> int:
    """How many demos have run on the state folder, with this one; 0 with the real API."""
    if settings.accounts:
        return 0
    file = settings.state_dir / DEMO_COUNT_FILE
    try:
        count = int(file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        count = 0
    if is_demo:
        count += 1
        file.write_text(f"{count}\n", encoding="ascii")
    return count


def child_environ(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    redis_url: str | None,
    sandbox_url: str | None,
    demo_count: int,
    is_demo: bool,
    port: int,
) -> dict[str, str]:
    """The environment of worker and API: `environ`, and the addresses of what `up` started."""
    ours = {"KNOUDS_HTTP_PORT": str(port)}
    if redis_url is not None:
        ours["KNOUDS_REDIS_URL"] = redis_url
    if sandbox_url is not None:
        ours["KNOUDS_BASE_URL"] = sandbox_url
        ours["KNOUDS_API_KEY"] = DEFAULT_KEY
        ours["KNOUDS_API_KEYS"] = json.dumps(sandbox_accounts(demo_count)) if demo_count else ""
    if is_demo and sandbox_url is not None:
        ours |= _demo_timings(settings)
    return {name: value for name, value in environ.items() if name.upper() not in ours} | ours


def _demo_timings(settings: Settings) -> dict[str, str]:
    """Short waits for a demo, where the operator has not set them."""
    timings = {
        "poll_min_s": min(DEMO_POLL_MIN_S, settings.poll_max_s),
        "retry_base_s": min(DEMO_RETRY_BASE_S, settings.retry_cap_s),
    }
    given = settings.model_fields_set
    return {f"KNOUDS_{name.upper()}": f"{v:g}" for name, v in timings.items() if name not in given}


def child_command(*words: str) -> list[str]:
    """The command line of a child process that runs this program.

    The child imports the package from where we did: from the current folder only if we did so.
    """
    here = Path.cwd()
    is_on_path = any(Path(entry or ".").resolve() == here for entry in sys.path)
    safe = [] if is_on_path else ["-P"]
    return [sys.executable, *safe, "-m", "worker.cli.main", *words]


def api_access(settings: Settings, port: int) -> tuple[str, str | None]:
    """The URL of the API on this machine, and a token that may act there."""
    url = settings.model_copy(update={"api_url": None, "http_port": port}).cli_url
    operators = [token.secret for token in settings.api_tokens if token.role is Role.OPERATE]
    secret = settings.api_token or (operators[0] if operators else None)
    return url, secret.get_secret_value() if secret else None


def find_api_port(settings: Settings) -> int:
    """The port for the API; raises CommandFailure where it is in use."""
    host, port = settings.http_host, settings.http_port
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror:
        raise CommandFailure(f"KNOUDS_HTTP_HOST: there is no address {host}") from None
    except OSError as error:
        raise CommandFailure(
            f"KNOUDS_HTTP_PORT: cannot listen on {host}:{port} ({error.strerror}); stop the"
            " program that listens there, or set another port, as KNOUDS_HTTP_PORT=8081"
        ) from None


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def lock_state_dir(state_dir: Path) -> Generator[None]:
    """Lock the state folder; raises CommandFailure where another `up` has it, or it is read-only.

    The lock ends with this process, however the process ends.
    """
    try:
        _make_folders(state_dir)
        lock = open_lock(state_dir / LOCK_FILE)
    except OSError as error:
        raise CommandFailure(f"{state_dir}: {error.strerror}; set KNOUDS_STATE_DIR") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailure(
                f"{state_dir}: another `knouds-worker up` runs on it; stop that one, or set"
                " KNOUDS_STATE_DIR to another folder"
            ) from None
        yield


def _make_folders(state_dir: Path) -> None:
    """Make the folders; a state folder of an earlier run is closed to others, too."""
    if not state_dir.exists() or (state_dir / LOCK_FILE).exists():
        make_private(state_dir)
    make_private(state_dir / "logs")


def check_settings(settings: Settings) -> None:
    """Refuse what the child processes would refuse; raises SettingsError."""
    settings.require_tokens()
    if not settings.accounts and settings.base_url != Settings().base_url:
        raise SettingsError(
            "KNOUDS_BASE_URL: set without KNOUDS_API_KEY; set the key too, or unset it to use the"
            " sandbox"
        )
