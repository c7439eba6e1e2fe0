"""Folders and files that no other user of the machine can read."""

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import IO, Final

from worker.redis.embedded_error import EmbeddedRedisError

MAX_SOCKET_PATH_BYTES: Final = 100
"""Linux takes 107, macOS 103."""

_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9._/+-]+")
"""Such a path is the same in a URL: arq does not decode it."""


def make_private(folder: Path) -> None:
    """Make a folder of our own, or close the one that exists to others. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


def open_lock(path: Path) -> IO[bytes]:
    """Open a file for a lock that other users cannot take. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "ab")


def write_private(path: Path, text: str) -> None:
    """Write a file in one step, which only its owner can read. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def socket_path(folder: Path, name: str) -> Path:
    """Where a socket of this folder is: in it, or in a short private folder if its path is long.

    Raises EmbeddedRedisError where another user has made that folder.
    """
    path = folder / name
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(str(path)):
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"knouds-worker-{os.getuid()}-{digest}"
    short.mkdir(exist_ok=True, mode=0o700)
    found = short.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not is_ours or stat.S_IMODE(found.st_mode) & 0o077:
        raise EmbeddedRedisError(
            f"{short}: another user can reach it, and the socket of Redis would be in it, since"
            f" the path of {folder} is too long; remove it, or set KNOUDS_STATE_DIR to a short path"
        )
    return short / name
