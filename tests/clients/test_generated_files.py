"""The generated parts of the clients are those of the OpenAPI document."""

import subprocess
from pathlib import Path

import pytest

from tests.clients.npm_tools import needs_npm
from tools.clients.node import run_node_tool
from tools.clients.outputs import (
    CLIENTS,
    DOCUMENT,
    TYPESCRIPT_SCHEMA,
    generated_files,
    write_typescript_schema,
)


@pytest.mark.parametrize("file", list(generated_files()), ids=lambda file: file.name)
def test_a_generated_file_is_up_to_date(file: Path) -> None:
    expected = generated_files()[file]
    found = file.read_text(encoding="utf-8")
    assert found == expected, f"{file.relative_to(CLIENTS.parent)} is stale: run `make clients`"


@needs_npm
def test_the_types_of_typescript_are_up_to_date(tmp_path: Path) -> None:
    written = tmp_path / "schema.ts"
    write_typescript_schema(written)
    is_same = written.read_bytes() == TYPESCRIPT_SCHEMA.read_bytes()
    assert is_same, "clients/typescript/src/schema.ts is stale: run `make clients`"


@needs_npm
def test_the_document_passes_its_linter() -> None:
    """Every rule that Redocly recommends, as an error (clients/redocly.yaml)."""
    try:
        run_node_tool("redocly", "lint", "--config", CLIENTS / "redocly.yaml", DOCUMENT)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}: see the output")
