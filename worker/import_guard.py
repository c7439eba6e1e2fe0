"""Checks at the start that `jobs` and `config` are the packages of this project.

Both are common names. If another project's `config` came first on the path, its settings would be
read as ours, or the program would fail far from the cause. This module imports neither, so an entry
point can run it first.
"""

import importlib.util
from pathlib import Path

OWN_PACKAGES = ("jobs", "config")


def find_foreign_package(siblings: Path | None = None) -> str | None:
    """Say in one line which of our packages would come from elsewhere; None if none would.

    `siblings`: the folder that holds `worker` (default: that of this installation).
    """
    home = siblings or Path(__file__).resolve().parent.parent
    for name in OWN_PACKAGES:
        found = _location(name)
        if found is None:
            return (
                f"package {name!r} is missing beside {home / 'worker'}; install knouds-worker again"
            )
        if found.parent != home / name:
            return (
                f"package {name!r} would be loaded from {found}, not from {home / name}; start from"
                " another folder, fix PYTHONPATH, or set PYTHONSAFEPATH=1"
            )
    return None


def check() -> None:
    """Stop the program (exit status 1, one line on stderr) if a package is not ours."""
    message = find_foreign_package()
    if message is not None:
        raise SystemExit(f"knouds-worker: {message}")


def _location(name: str) -> Path | None:
    """The file that `import name` would run; a namespace package counts as its folder."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    if spec.origin is not None:
        return Path(spec.origin).resolve()
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0]).resolve() if folders else None
