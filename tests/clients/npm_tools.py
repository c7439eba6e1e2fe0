"""The TypeScript client as it is compiled, where its tools are installed."""

import os
from functools import cache

import pytest

from tools.clients.node import has_node_modules, run_node_tool

needs_npm = pytest.mark.skipif(
    not has_node_modules() and "CI" not in os.environ,
    reason="the development tools of clients/typescript are missing: npm failed in `make test`",
)


@cache
def compile_client() -> None:
    """Compile the client and its tests into `dist`, once."""
    run_node_tool("tsc")
