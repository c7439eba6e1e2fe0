"""The TypeScript client as it is compiled, where its tools are installed."""

import os
from functools import cache

import pytest

from tools.clients.node import TYPESCRIPT, has_node_modules, run_node_tool

needs_npm = pytest.mark.skipif(
    not has_node_modules() and "CI" not in os.environ,
    reason="the development tools of clients/typescript are missing: npm failed in `make test`",
)


@cache
def compile_client() -> None:
    """Compile the client and its tests into `dist`, where it is older than they are."""
    sources = [
        *TYPESCRIPT.glob("src/**/*.ts"),
        *TYPESCRIPT.glob("test/*.ts"),
        *TYPESCRIPT.glob("*.json"),
    ]
    compiled = TYPESCRIPT / "dist" / ".compiled"
    if not compiled.exists() or any(
        one.stat().st_mtime >= compiled.stat().st_mtime for one in sources
    ):
        run_node_tool("tsc")
        compiled.touch()
