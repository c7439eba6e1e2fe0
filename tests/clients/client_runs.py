"""The tests of a client as a process of its own."""

import asyncio
import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PYTHON_CLIENT: Final = ROOT / "clients" / "python"

IS_FULL: Final = os.environ.get("CLIENTS") == "full"
"""Every Python and Node is tried, as `make test/clients` asks."""


async def run_client_tests(*command: str | Path, cwd: Path, url: str) -> str:
    """Run the tests of a client against `url`; their output. They must pass."""
    return await run_program(*command, cwd=cwd, KNOUDS_TEST_URL=url)


async def run_program(*command: str | Path, cwd: Path, **environ: str) -> str:
    """Run a program to its end; its output. It must exit with 0."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    return text
