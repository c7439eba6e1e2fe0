"""Everything on one machine, started once by `up`, with tools over HTTP in front of it."""

from collections.abc import Generator

import pytest

from tests.cli.command_runner import Program
from tests.mcp.mcp_site import SECRETS, TOKENS, McpSite


@pytest.fixture(scope="session")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, str]]:
    """The addresses of the API and of the tools."""
    folder = tmp_path_factory.mktemp("mcp")
    program = Program(
        "up",
        cwd=folder,
        KNOUDS_HTTP_PORT="0",
        KNOUDS_API_TOKENS=TOKENS,
        KNOUDS_RETRY_BASE_S="0.05",
        KNOUDS_POLL_MIN_S="0.1",
        KNOUDS_DEFAULT_ESTIMATE="10",
    )
    try:
        api_url = program.until(r"Everything is up.*export KNOUDS_API_URL=(\S+)")[1]
        words = ("mcp", "--transport", "http", "--port", "0", "--allow-enqueue", "--allow-actions")
        # Its own token is nobody's: a test sends none, and another one that of a lower role.
        settings = {"KNOUDS_API_URL": api_url, "KNOUDS_API_TOKEN": SECRETS["operate"]}
        tools = Program(*words, cwd=folder, **settings)
        try:
            yield api_url, tools.until(r"MCP at (\S+)")[1]
        finally:
            assert tools.end() == 0, tools.output
    finally:
        assert program.end() == 0, program.output


@pytest.fixture
def site(addresses: tuple[str, str]) -> McpSite:
    return McpSite(*addresses)
