"""The import guard, in processes whose path has a module of another program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import worker
from worker import import_guard

HOME = Path(worker.__file__).resolve().parent.parent


def start(*path: Path, program: str = "") -> subprocess.CompletedProcess[str]:
    """Run the guard, then `program`, in a fresh interpreter with this PYTHONPATH."""
    return subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            f"from worker import import_guard; import_guard.check(); {program}",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_our_own_packages_pass() -> None:
    done = start(HOME, program="import jobs, config")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", import_guard.OWN_PACKAGES)
@pytest.mark.parametrize("file", ["{}/__init__.py", "{}.py"])
def test_somebody_elses_package_or_module_stops_the_start(
    tmp_path: Path, name: str, file: str
) -> None:
    foreign = tmp_path / file.format(name)
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("raise RuntimeError('the guard ran it')\n")
    done = start(tmp_path, HOME)
    assert done.returncode == 1
    assert str(foreign) in done.stderr
    assert done.stderr.startswith(f"knouds-worker: package {name!r} would be loaded from")
    assert done.stderr.count("\n") == 1


def test_a_mere_folder_of_that_name_does_no_harm(tmp_path: Path) -> None:
    """A package with `__init__.py` anywhere on the path wins over a folder without one."""
    (tmp_path / "config").mkdir()
    assert start(tmp_path, HOME).returncode == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", {"jobs": None}.get)
    fault = import_guard.find_foreign_package()
    assert fault is not None
    assert fault.startswith("package 'jobs' is missing")


def test_the_guard_itself_loads_neither_package() -> None:
    done = start(HOME, program="import sys; print({'jobs', 'config'} & sys.modules.keys())")
    assert done.stdout == "set()\n"
