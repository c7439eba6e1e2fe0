"""The embedded Redis: a real server that `up` starts when none is configured.

One server for a state folder, ensured by a lock that the server process inherits: the lock lives as
long as a process may write the data, even if the process that started it is killed. Every write
is on disk before it is acknowledged (`appendfsync always`), so the data survives a power cut.

It listens on a socket in a folder that only its user can open, and wants a password that is in no
command line. Nobody who logs in can change its configuration, load modules or debug it.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from worker.redis.embedded_error import EmbeddedRedisError
from worker.redis.private_folder import make_private, open_lock, socket_path, write_private
from worker.redis.server_binary import ServerBinary, find_server, record_server

URL_FILE: Final = "redis.url"
PASSWORD_FILE: Final = "redis.password"  # noqa: S105  the name of a file
SOCKET: Final = "redis.sock"
READY_TIMEOUT_S: Final = 120.0  # a large append-only file takes its time to load
STOP_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S: Final = 1.0
POLL_INTERVAL_S: Final = 0.02

RIGHTS: Final = "~* &* +@all -@admin -@dangerous -debug -module -cluster +config|get +info"
"""Of whoever has the password, as rules of an ACL: reads and writes of data, and what is asked of
the server. Nothing that stops it, moves or empties its data, or reads the commands of others."""

OWNER: Final = "owner"
OWNER_PASSWORD_FILE: Final = "owner.password"  # noqa: S105  the name of a file
OWNER_RIGHTS: Final = "+auth +shutdown +bgrewriteaof"
"""Of the program that starts it, under a password of its own."""


def running_url(state_dir: Path) -> str | None:
    """The URL of the embedded Redis of a state folder; None if none was started.

    A killed program leaves the file behind, so the server may be gone.
    """
    try:
        return (state_dir / URL_FILE).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


class EmbeddedRedis:
    """A Redis server that runs during the `async with` block; its data stay.

    Its address stays the same for a state folder. Entering raises EmbeddedRedisError.
    """

    def __init__(self, state_dir: Path, *, ready_timeout_s: float = READY_TIMEOUT_S) -> None:
        self._state_dir = state_dir.resolve()  # as the server itself names it
        self._data_dir = self._state_dir / "redis"
        self._ready_timeout_s = ready_timeout_s
        self._owner_lock: IO[bytes] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._socket = Path()
        self._password = ""
        self._owner_password = ""

    @property
    def url(self) -> str:
        """Where it listens, as a `unix://` URL with the password."""
        return f"unix://:{self._password}@{self._socket}"

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
        try:
            self._prepare_folder()
            await self._stop_orphan()
            await self._start(find_server(self._data_dir))
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

    def _prepare_folder(self) -> None:
        try:
            make_private(self._data_dir)
            owner = open_lock(self._state_dir / "owner.lock")
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
        self._socket = socket_path(self._data_dir, SOCKET)
        self._password = self._find_password(PASSWORD_FILE)
        self._owner_password = self._find_password(OWNER_PASSWORD_FILE)

    def _find_password(self, name: str) -> str:
        """A password of the folder: a restart keeps the address that others have."""
        path = self._data_dir / name
        with contextlib.suppress(FileNotFoundError):
            if known := path.read_text(encoding="ascii").strip():
                return known
        password = secrets.token_hex(24)
        write_private(path, f"{password}\n")
        return password

    def _release_owner_lock(self) -> None:
        if self._owner_lock is not None:
            self._owner_lock.close()  # and with it the lock
            self._owner_lock = None

    def _open_data_lock(self) -> IO[bytes]:
        return open_lock(self._state_dir / "data.lock")

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
        for password in (f"{OWNER} {self._owner_password}", self._password):  # of before: one
            with contextlib.suppress(OSError, ValueError):
                await self._send("SHUTDOWN NOSAVE", password)
        return False

    async def _start(self, binary: ServerBinary) -> None:
        record_server(self._data_dir, binary)
        await self._spawn(binary)
        is_settled = await _wait_until(self._is_ready_or_ended, self._ready_timeout_s)
        if self._has_ended():
            reason = self._read_log().rpartition("\n")[2] or "no reason"
            raise EmbeddedRedisError(f"the embedded Redis did not start: {reason}")
        if not is_settled:
            raise EmbeddedRedisError(
                f"the embedded Redis was not ready within {self._ready_timeout_s:g} s;"
                f" see {self._data_dir / 'server.log'}"
            )
        with contextlib.suppress(OSError, ValueError):  # what was erased leaves the file
            await self._send("BGREWRITEAOF", f"{OWNER} {self._owner_password}")
        write_private(self._state_dir / URL_FILE, f"{self.url}\n")

    def _has_ended(self) -> bool:
        return self._child.returncode is not None

    async def _is_ready_or_ended(self) -> bool:
        """Whether the server has ended, or answers with its data loaded."""
        if self._has_ended():
            return True
        with contextlib.suppress(OSError, ValueError):  # refused until it listens
            return await self._send("PING", self._password) == b"+PONG"  # an error while it loads
        return False

    async def _spawn(self, binary: ServerBinary) -> None:
        with self._open_data_lock() as lock, self._open_log() as log:
            if not _try_lock(lock):
                raise EmbeddedRedisError(f"{self._data_dir}: another Redis server holds it")
            self._process = await asyncio.create_subprocess_exec(
                binary.path,
                "-",
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),),  # this copy closes; the server's keeps the lock
                start_new_session=True,  # Ctrl-C must not reach the server, which ends last
            )
        config = _config(self._data_dir, self._socket, self._password, self._owner_password)
        if (pipe := self._process.stdin) is not None:
            with contextlib.suppress(OSError):  # it has ended, and its log says why
                pipe.write(config.encode("ascii"))
                await pipe.drain()
            pipe.close()

    async def _send(self, command: str, login: str) -> bytes:
        """Log in, send one inline command and read the first line of its reply.

        Raises OSError if nothing answers, ValueError if it is not a Redis. A Redis client would
        retry and pool, and the server may not be ready for that.
        """
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                writer.write(f"AUTH {login}\r\n{command}\r\n".encode("ascii"))
                await reader.readline()
                return (await reader.readline()).rstrip()
            finally:
                writer.close()

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
                self._remove_short_folder()
            self._release_owner_lock()

    def _remove_short_folder(self) -> None:
        if self._socket.parent != self._data_dir:
            with contextlib.suppress(OSError):
                self._socket.unlink(missing_ok=True)
                self._socket.parent.rmdir()


def _config(data: Path, socket: Path, password: str, owner_password: str) -> str:
    """The configuration, for the standard input of the server."""
    users = (
        f"default reset on {_hashed(password)} {RIGHTS}",
        f"{OWNER} reset on {_hashed(owner_password)} {OWNER_RIGHTS}",
    )
    options = {
        "port": "0",
        "unixsocket": _quoted(socket),
        "unixsocketperm": "700",
        "daemonize": "no",
        "loglevel": "warning",  # its log is not rotated
        "dir": _quoted(data),
        "save": '""',  # only the append-only file counts
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        # The hash of a job in one piece of memory; Redis 7 takes the older names, too.
        "hash-max-ziplist-entries": "32",
        "hash-max-ziplist-value": "2048",
    }
    lines = [f"{name} {value}\n" for name, value in options.items()]
    return "".join([*lines, *(f"user {user}\n" for user in users)])


def _hashed(password: str) -> str:
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


def _quoted(path: Path) -> str:
    """A path as the configuration takes it, whatever bytes it has."""
    plain = re.sub(
        rb"[^A-Za-z0-9/._+-]", lambda found: b"\\x%02x" % ord(found[0]), os.fsencode(path)
    )
    return f'"{plain.decode("ascii")}"'


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
