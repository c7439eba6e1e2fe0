"""Modules and functions of the program stay short enough to be read at once."""

import ast
from typing import Final

from tests.unit.source_modules import MODULES, ROOT, nodes

MAX_MODULE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 60
PROGRAM: Final = [path for path in MODULES if path.relative_to(ROOT).parts[0] != "tests"]


def test_no_module_of_the_program_is_too_long() -> None:
    lines = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n")
        for path in PROGRAM
    }
    assert lines["worker/store/jobs.py"] > 100
    assert {path: count for path, count in lines.items() if count > MAX_MODULE_LINES} == {}


def test_no_function_of_the_program_is_too_long() -> None:
    lines = {
        f"{path.relative_to(ROOT)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in PROGRAM
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert lines["worker/store/jobs.py: extend_leases"] > 3
    assert {name: count for name, count in lines.items() if count > MAX_FUNCTION_LINES} == {}
