"""The start guard: `jobs` and `config` must be ours.

Both are common names. Where another project's `config` comes first on the path, its settings would
be read as ours, or the program would die far away from the cause. This module imports neither, so
it can be the first thing an entry point runs.
"""

import importlib.util
from pathlib import Path

OWN_PACKAGES = ("jobs", "config")


def find_foreign_package(siblings: Path | None = None) -> str | None:
    """Tell in one line which of our packages would come from elsewhere; None when all is well.

    `siblings` is the folder that holds `worker` (default: this installation's).
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
                " another folder, mend PYTHONPATH, or set PYTHONSAFEPATH=1"
            )
    return None


def check() -> None:
    """Stop the program (exit status 1, one line on stderr) where a package is somebody else's."""
    fault = find_foreign_package()
    if fault is not None:
        raise SystemExit(f"knouds-worker: {fault}")


def _location(name: str) -> Path | None:
    """Find the file that `import name` would run; a folder without one counts as its own file."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    if spec.origin is not None:
        return Path(spec.origin).resolve()
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0]).resolve() if folders else None
