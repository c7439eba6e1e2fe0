"""The first program of each client's README prints a result."""

import asyncio
import re
import sys
from pathlib import Path

from tests.clients.client_runs import PYTHON_CLIENT, run_program
from tests.clients.npm_tools import compile_client, needs_npm
from tools.clients.node import TYPESCRIPT, bundled_node


def programs(readme: Path, language: str) -> list[str]:
    text = readme.read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(found) >= 3
    return found


async def test_the_programs_for_python_print_results(api_url: str, tmp_path: Path) -> None:
    first, second, *_ = programs(PYTHON_CLIENT / "README.md", "python")
    for text, results in ((first, 1), (second, 2)):
        program = tmp_path / "run.py"
        program.write_text(text)
        environ = {"PYTHONPATH": str(PYTHON_CLIENT / "src"), "KNOUDS_API_URL": api_url}
        output = await run_program(sys.executable, program, cwd=tmp_path, **environ)
        assert output.count("cdn.knouds.example") == results


@needs_npm
async def test_the_program_for_node_prints_a_result(api_url: str) -> None:
    first, *_ = programs(TYPESCRIPT / "README.md", "js")
    await asyncio.to_thread(compile_client)
    program = TYPESCRIPT / "dist" / "first-steps.mjs"  # where the package finds itself by its name
    program.write_text(first)
    output = await run_program(bundled_node(), program, cwd=TYPESCRIPT, KNOUDS_API_URL=api_url)
    assert output.count("cdn.knouds.example") == 1
