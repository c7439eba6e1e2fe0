"""The tests of the TypeScript client pass against this server, on every Node that is found."""

import asyncio
import re

import pytest

from tests.clients.client_runs import IS_FULL, run_client_tests
from tests.clients.npm_tools import compile_client, needs_npm
from tools.clients.node import TYPESCRIPT, bundled_node, machine_node

pytestmark = needs_npm


@pytest.mark.parametrize("which", ["machine", "bundled"])
async def test_it_works_on_node(api_url: str, which: str) -> None:
    node = machine_node() if which == "machine" else bundled_node()
    if node is None:
        pytest.skip("no Node 20 or newer on the PATH: the one of the development tools is tried")
    if which == "bundled" and machine_node() is not None and not IS_FULL:
        pytest.skip("`make test/clients` tries the Node of the development tools, too")
    await asyncio.to_thread(compile_client)
    tests = sorted((TYPESCRIPT / "dist" / "test").glob("*.test.js"))
    output = await run_client_tests(node, "--test", *tests, cwd=TYPESCRIPT, url=api_url)
    assert re.search(r"(# |ℹ )pass [1-9]", output)
    assert re.search(r"(# |ℹ )skipped 0", output)
