"""The command as assistants start it: over stdio, over HTTP, without its extra."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import aiohttp
import httpx2
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tests.cli.command_runner import Program, call, command_line, environ
from tests.cli.conftest import CannedServer, answering
from tests.mcp.mcp_site import SECRETS, McpSite, ToolClient, stdio_server
from worker.cli.exit_codes import CommandFailure
from worker.cli.mcp.calls import ApiConnector
from worker.cli.mcp.http_server import GuardedApp, security_of
from worker.cli.mcp.options import McpHttpOptions, ToolLevel
from worker.cli.mcp.server import McpConfig, build_server
from worker.cli.mcp.serving import serve_http

__all__ = ["answering"]

PING: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT: Final = {"Accept": "application/json, text/event-stream"}
OPERATOR: Final = {"Authorization": f"Bearer {SECRETS['operate']}"}


async def test_a_client_over_stdio_acts_after_a_dry_run(site: McpSite) -> None:
    job_id = await site.parked()
    server = stdio_server(site.api_url, "--allow-actions")
    async with Client(server) as client:
        tools = ToolClient(client)
        assert "never" in (client.instructions or "")
        assert "enqueue_job" not in await tools.names()
        refusal = await tools.refusal("enqueue_job", kind="model", target="x", inputs={})
        assert "start `knouds-worker mcp` with --allow-enqueue" in refusal
        done = await tools.confirmed("discard_jobs", filter={"ids": [job_id]})
        assert done["done"]["done"] == 1


async def test_nothing_but_reading_is_open_by_default(site: McpSite) -> None:
    """And a client of the protocol as it was before 2026 is served, too."""
    server = stdio_server("http://127.0.0.1:9", "--url", site.api_url)
    async with Client(server, mode="legacy") as client:
        tools = ToolClient(client)
        assert {"get_job", "get_stats"} <= await tools.names()
        assert not {"enqueue_job", "discard_jobs", "set_hold"} & await tools.names()
        refusal = await tools.refusal("discard_jobs", filter={"tag": site.name})
        assert refusal == "discard_jobs is off: start `knouds-worker mcp` with --allow-actions"


async def test_without_an_api_a_tool_says_where_it_was_expected() -> None:
    async with aiohttp.TCPConnector() as connector:
        config = McpConfig(frozenset(ToolLevel), lambda _: None)
        server = build_server(config, ApiConnector("http://127.0.0.1:9", connector))
        async with Client(server) as client:
            refusal = await ToolClient(client).refusal("get_stats")
            assert refusal.startswith("no API at http://127.0.0.1:9")
            with pytest.raises(MCPError, match="no API at"):
                await client.list_tools()


# Over HTTP.


async def status(url: str, method: str = "POST", **headers: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, json=PING, headers={**ACCEPT, **headers}) as response,
    ):
        asks = response.headers.get("WWW-Authenticate", "")
        return response.status, asks, await response.text()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_another_host_or_origin_is_refused(site: McpSite, method: str) -> None:
    url = site.tools_url
    assert (await status(url, method, Host="evil.example", **OPERATOR))[0] == 421
    assert (await status(url, method, Host="evil.example"))[0] == 421, "before a token is asked for"
    port = url.rpartition(":")[2].partition("/")[0]
    assert (await status(url, method, Host=f"evil.example:{port}", **OPERATOR))[0] == 421
    assert (await status(url, method, Origin="https://evil.example", **OPERATOR))[0] == 403
    assert (await status(url, method, Origin="null", **OPERATOR))[0] == 403


async def test_a_page_of_this_machine_may_call(site: McpSite) -> None:
    origin = site.tools_url.removesuffix("/mcp")
    found, _, text = await status(site.tools_url, Origin=origin, **OPERATOR)
    assert found == 200
    assert "get_stats" in text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong-0123456789abcdef"},
        {"Authorization": f"Basic {SECRETS['operate']}"},
        {"X-Authorization": OPERATOR["Authorization"]},
    ],
)
async def test_a_caller_without_a_token_of_its_own_is_refused(
    site: McpSite, headers: dict[str, str]
) -> None:
    found, asks, text = await status(site.tools_url, **headers)
    assert found == 401
    assert asks == 'Bearer realm="knouds-worker"'
    assert "KNOUDS_API_TOKENS" in text


def test_another_address_is_served_only_under_names_and_with_tokens(
    site: McpSite, tmp_path: Path
) -> None:
    words = ("mcp", "--transport", "http", "--port", "0", "--host", "0.0.0.0")  # noqa: S104
    done = call(*words, cwd=tmp_path, KNOUDS_API_URL=site.api_url)
    assert done.returncode == 2
    assert "--allowed-host" in done.stderr


async def test_another_address_needs_a_token_and_its_name(site: McpSite, tmp_path: Path) -> None:
    words = ("mcp", "--transport", "http", "--port", "0", "--host", "127.0.0.2")
    named = (*words, "--allowed-host", "mcp.example")
    server = Program(*named, cwd=tmp_path, KNOUDS_API_URL=site.api_url)
    try:
        url = server.until(r"MCP at (\S+)")[1]
        assert (await status(url, Host="mcp.example"))[0] == 401
        assert (await status(url, Host="mcp.example", **OPERATOR))[0] == 200
        assert (await status(url, Host="other.example", **OPERATOR))[0] == 421
    finally:
        assert server.end() == 0, server.output
    assert "Invalid" not in server.output


async def test_other_machines_send_a_token_even_if_the_api_needs_none_any_more(
    answering: CannedServer,
) -> None:
    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("served")(scope, receive, send)

    url = answering(200, '{"name": "local", "role": "operate", "operations": []}')
    security = security_of(McpHttpOptions("127.0.0.2", 8765), 8765)
    async with aiohttp.TCPConnector() as connector:
        api = ApiConnector(url, connector)
        for needs_token, found in ((True, 401), (False, 200)):
            app = GuardedApp(served, api, security, needs_token=needs_token)
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport) as http:
                assert (await http.post("http://127.0.0.2:8765/mcp")).status_code == found


async def test_an_api_without_tokens_is_not_opened_to_other_machines(
    answering: CannedServer,
) -> None:
    url = answering(200, '{"name": "local", "role": "operate", "operations": []}')
    options = McpHttpOptions("127.0.0.2", 0, ("mcp.example",))
    with pytest.raises(CommandFailure, match="takes calls without a token, so only this machine"):
        await serve_http(url, frozenset(), options)


# The extra.


def test_without_the_extra_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *a: None if name == 'mcp' else find(name, *a)\n"
    )
    settings = environ()
    settings["PYTHONPATH"] = f"{tmp_path}:{settings['PYTHONPATH']}"
    words = [sys.executable, *command_line("mcp")[2:]]  # without -P, which hides the folder
    done = subprocess.run(
        words, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "knouds-worker: this command needs the Python SDK of MCP: pip install"
        " 'knouds-worker[mcp]'\n"
    )


def test_other_commands_do_not_load_the_sdk(tmp_path: Path) -> None:
    program = (
        "import sys, worker.cli.main as main\n"
        "for name in main.commands.list_commands(None): main.commands.get_command(None, name)\n"
        "import worker.compose.api, worker.main\n"
        "sys.exit(str({'mcp', 'starlette', 'uvicorn'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [*command_line()[:2], "-c", program],
        cwd=tmp_path,
        env=environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "set()\n"
