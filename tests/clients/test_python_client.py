"""The tests of the Python client pass against this server, on every Python that it supports."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.clients.client_runs import IS_FULL, PYTHON_CLIENT, ROOT, run_client_tests

OTHER_PYTHONS: Final = ("3.10", "3.13")
"""The lowest and the newest."""


async def test_it_works_on_this_python(api_url: str) -> None:
    output = await run_client_tests(sys.executable, "-m", "pytest", cwd=PYTHON_CLIENT, url=api_url)
    assert re.search(r"\d+ passed", output)
    assert "skipped" not in output


@pytest.mark.skipif(not IS_FULL, reason="`make test/clients` tries other Pythons")
@pytest.mark.parametrize("version", OTHER_PYTHONS)
async def test_it_works_installed_on_another_python(
    api_url: str, version: str, tmp_path: Path
) -> None:
    found = _interpreter(version)
    if found is None:
        pytest.skip(f"no Python {version} on this machine: neither on the PATH nor of pyenv")
    python = await asyncio.to_thread(_install, found, tmp_path)
    command = (python, "-I", "-m", "pytest", "-q", "-c", PYTHON_CLIENT / "pyproject.toml")
    options = ("-o", "pythonpath=tests", "--rootdir", tmp_path, "tests")
    output = await run_client_tests(*command, *options, cwd=tmp_path, url=api_url)
    assert re.search(r"\d+ passed", output)


def _install(interpreter: Path, folder: Path) -> Path:
    """The Python of a new environment that has the client and its tests."""
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt")
    subprocess.run([*pip, f"{PYTHON_CLIENT}[test]"], check=True)
    shutil.copytree(PYTHON_CLIENT / "tests", folder / "tests")
    return python


def _interpreter(version: str) -> Path | None:
    """A Python of this version, on the PATH or of pyenv."""
    paths = [shutil.which(f"python{version}")]
    versions = Path.home() / ".pyenv" / "versions"
    paths += [str(one / "bin" / "python") for one in versions.glob(f"{version}.*")]
    for path in filter(None, paths):
        if subprocess.run([path, "-c", "import venv"], check=False).returncode == 0:
            return Path(path)
    return None
