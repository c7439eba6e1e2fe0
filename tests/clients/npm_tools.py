"""Whether the tools of the TypeScript client are installed."""

import os

import pytest

from tools.clients.node import has_node_modules

needs_npm = pytest.mark.skipif(
    not has_node_modules() and "CI" not in os.environ,
    reason="the development tools of clients/typescript are missing: npm failed in `make test`",
)
