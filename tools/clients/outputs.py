"""Every generated file of the clients that Python writes, and its text."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, cast

from tools.clients.node import run_node_tool
from tools.clients.python_calls import render_calls
from tools.clients.python_models import render_models
from tools.clients.typescript import render_operations
from worker.api.openapi import build_document
from worker.compose.api import ENDPOINTS

CLIENTS: Final = Path(__file__).resolve().parents[2] / "clients"
DOCUMENT: Final = CLIENTS / "openapi.json"
_PYTHON: Final = CLIENTS / "python" / "src" / "knouds_worker_client"
_TYPESCRIPT: Final = CLIENTS / "typescript" / "src"
TYPESCRIPT_SCHEMA: Final = _TYPESCRIPT / "schema.ts"
"""Written by openapi-typescript, which needs Node."""


def generated_files() -> dict[Path, str]:
    """The text of each file."""
    document = build_document(ENDPOINTS)
    models, calls = _PYTHON / "models.py", _PYTHON / "calls.py"
    return {
        DOCUMENT: _json(document),
        models: _formatted(models, render_models(document)),
        calls: _formatted(calls, render_calls(document)),
        _TYPESCRIPT / "operations.ts": render_operations(document),
    }


def write_typescript_schema(target: Path) -> None:
    """Write `schema.ts` by openapi-typescript; raises CalledProcessError."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as document:
        document.write(_json(_without_examples(build_document(ENDPOINTS))))
        document.flush()
        tool = "openapi-typescript"
        run_node_tool(tool, document.name, "--default-non-nullable=false", "--output", target)


def _without_examples(value: Any) -> Any:
    """A document whose comments stay the same when examples are recorded anew."""
    if isinstance(value, dict):
        facts = cast("dict[str, Any]", value)
        return {name: _without_examples(one) for name, one in facts.items() if name != "example"}
    if isinstance(value, list):
        return [_without_examples(one) for one in cast("list[object]", value)]
    return value


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _formatted(file: Path, text: str) -> str:
    """Python as ruff formats it."""
    return subprocess.run(  # noqa: S603 - the formatter of this environment
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", file, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
