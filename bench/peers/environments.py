"""An environment for each set of requirements, made once and kept until they change."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".bench"
REQUIREMENTS: Final = Path(__file__).parent / "requirements"


def pins(requirements: str) -> dict[str, str]:
    """The version of each package of an environment."""
    lines = (REQUIREMENTS / f"{requirements}.txt").read_text().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def python_with(requirements: str) -> Path:
    """The Python of an environment that has what `requirements/<name>.txt` pins, and nothing else.

    Raises `subprocess.CalledProcessError` where it cannot be installed.
    """
    wanted = REQUIREMENTS / f"{requirements}.txt"
    made = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    folder = CACHE / requirements
    python, mark = folder / "bin" / "python", folder / "made"
    if mark.is_file() and mark.read_text() == made:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603 - our own words
    install = (python, "-m", "pip", "install", "-qq", "-r", wanted)
    subprocess.run(install, check=True)  # noqa: S603 - pinned in this repository
    mark.write_text(made)
    return python
