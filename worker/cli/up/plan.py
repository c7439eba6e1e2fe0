"""What `up` starts and what each part is told: decided here, before anything runs."""

import contextlib
import fcntl
import json
import socket
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.settings import Role, Settings, SettingsError
from worker.cli.exit_codes import CommandFailure
from worker.sandbox.config import DEFAULT_KEY

LOCK_FILE: Final = "up.lock"
DEMO_COUNT_FILE: Final = "demo.count"

STUDIO_KEY: Final = "knouds_live_business"
"""A sandbox user of its own: the demo takes its credits away."""

DEMO_POLL_MIN_S: Final = 0.25
DEMO_RETRY_BASE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class DemoAccounts:
    """The accounts that a demo plays with: its own, so that no earlier hold stands in its way."""

    demo: str
    studio: str


def demo_accounts(number: int) -> DemoAccounts:
    """The accounts of the n-th demo in a state folder, from 1."""
    tail = "" if number <= 1 else f"-{number}"
    return DemoAccounts(f"demo{tail}", f"studio{tail}")


def sandbox_accounts(demo_count: int) -> dict[str, str]:
    """Keys by account for every demo so far: its parked jobs may still be released."""
    casts = [demo_accounts(number) for number in range(1, demo_count + 1)]
    return {c.demo: DEFAULT_KEY for c in casts} | {c.studio: STUDIO_KEY for c in casts}


def count_demos(state_dir: Path, *, add_one: bool) -> int:
    """How many demos a state folder has seen, `another` one included."""
    file = state_dir / DEMO_COUNT_FILE
    try:
        count = int(file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        count = 0
    if add_one:
        count += 1
        file.write_text(f"{count}\n", encoding="ascii")
    return count


def child_environ(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    redis_url: str | None,
    sandbox_url: str | None,
    demos: int,
    demo: bool,
    port: int,
) -> dict[str, str]:
    """The environment of worker and API: ours, and where the parts that we started are."""
    told = {"KNOUDS_HTTP_PORT": str(port)}
    if redis_url is not None:
        told["KNOUDS_REDIS_URL"] = redis_url
    if sandbox_url is not None:
        told["KNOUDS_BASE_URL"] = sandbox_url
        told["KNOUDS_API_KEY"] = DEFAULT_KEY
        told["KNOUDS_API_KEYS"] = json.dumps(sandbox_accounts(demos)) if demos else ""
    if demo and sandbox_url is not None:
        told |= _demo_timings(settings)
    ours = {name.upper() for name in told}
    return {**{k: v for k, v in environ.items() if k.upper() not in ours}, **told}


def _demo_timings(settings: Settings) -> dict[str, str]:
    """Short waits for a demo, where the person has not set them."""
    wanted = {
        "poll_min_s": min(DEMO_POLL_MIN_S, settings.poll_max_s),
        "retry_base_s": min(DEMO_RETRY_BASE_S, settings.retry_cap_s),
    }
    given = settings.model_fields_set
    return {f"KNOUDS_{name.upper()}": f"{v:g}" for name, v in wanted.items() if name not in given}


def child_command(*words: str) -> list[str]:
    """The command line of a child that runs this very program.

    It finds the package where we found it: the current folder counts only if it does for us.
    """
    here = Path.cwd()
    counts = any(Path(entry or ".").resolve() == here for entry in sys.path)
    safe = [] if counts else ["-P"]
    return [sys.executable, *safe, "-m", "worker.cli.main", *words]


def api_access(settings: Settings, port: int) -> tuple[str, str | None]:
    """Where this machine finds the API, and the token that may act there."""
    url = settings.model_copy(update={"api_url": None, "http_port": port}).cli_url
    operators = [token.secret for token in settings.api_tokens if token.role is Role.OPERATE]
    secret = settings.api_token or (operators[0] if operators else None)
    return url, secret.get_secret_value() if secret else None


def find_api_port(settings: Settings) -> int:
    """The port for the API, which must be free; raises Failure where it is not."""
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
            f"KNOUDS_HTTP_PORT: cannot listen on {host}:{port} ({error.strerror}); stop what"
            " listens there, or set another port, as KNOUDS_HTTP_PORT=8081"
        ) from None


def free_port() -> int:
    """A port of this machine that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def lock_state_dir(state_dir: Path) -> Generator[None]:
    """Hold the state folder; raises Failure where another `up` does, or it cannot be written.

    The lock ends with this process, however that ends.
    """
    try:
        (state_dir / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state_dir / LOCK_FILE).open("ab")
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


def check_settings(settings: Settings) -> None:
    """Refuse what the children would refuse; raises SettingsError."""
    settings.require_tokens()
    if not settings.accounts and settings.base_url != Settings().base_url:
        raise SettingsError(
            "KNOUDS_BASE_URL: set without KNOUDS_API_KEY; set the key too, or unset it to use the"
            " sandbox"
        )
