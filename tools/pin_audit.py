"""Known vulnerabilities of the pinned versions: `make audit`.

pip-audit looks them up. It has a virtual environment of its own, so that the pins are not those of
the auditor. Where its data base cannot be reached, nothing is audited, and one line says so.
"""

import shutil
import socket
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AUDITOR = ROOT / ".venv" / "audit"
DATABASE = "api.osv.dev"
REACHED_WITHIN_S = 5.0


def main() -> int:
    """Audit; 0 if nothing is known or the data base cannot be reached."""
    try:
        socket.create_connection((DATABASE, 443), REACHED_WITHIN_S).close()
    except OSError as error:
        print(f"audit skipped: {DATABASE} cannot be reached ({error})")  # noqa: T201
        return 0
    try:
        return _audit()
    except subprocess.CalledProcessError as error:
        shutil.rmtree(AUDITOR, ignore_errors=True)
        print(f"pip-audit could not be installed: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _audit() -> int:
    program = AUDITOR / "bin" / "pip-audit"
    if not program.exists():
        venv.create(AUDITOR, with_pip=True)
        installer: list[str | Path] = [AUDITOR / "bin" / "pip", "install", "--quiet", "pip-audit"]
        subprocess.run(installer, check=True)  # noqa: S603  our own words
    pins: list[str | Path] = ["-r", ROOT / "constraints.txt", "--no-deps", "--disable-pip"]
    command: list[str | Path] = [program, "-s", "osv", *pins, "--progress-spinner", "off"]
    return subprocess.run(command, check=False).returncode  # noqa: S603  our own words


if __name__ == "__main__":
    sys.exit(main())
