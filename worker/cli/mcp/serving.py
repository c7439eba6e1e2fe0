"""Runs the server until its client or an operator ends it."""

import logging

import aiohttp
import click
from mcp.server.stdio import stdio_server

from worker.cli.api_client import ApiClient, RequestRefused
from worker.cli.exit_codes import CommandFailure
from worker.cli.mcp import http_server
from worker.cli.mcp.calls import ApiConnector
from worker.cli.mcp.options import McpHttpOptions, ToolLevel
from worker.cli.mcp.server import McpConfig, build_server


async def serve_stdio(base_url: str, token: str | None, levels: frozenset[ToolLevel]) -> None:
    """Serve one client over standard input and output, with the token of this process."""
    async with aiohttp.TCPConnector() as connector:
        config = McpConfig(levels, lambda _: token)
        server = build_server(config, ApiConnector(base_url, connector))
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())


async def serve_http(base_url: str, levels: frozenset[ToolLevel], options: McpHttpOptions) -> None:
    """Serve any number of clients over HTTP, each with its own token."""
    for noisy in ("mcp", "uvicorn"):  # a line for each request that anybody sends
        logging.getLogger(noisy).setLevel(logging.ERROR)
    async with aiohttp.TCPConnector() as connector:
        api = ApiConnector(base_url, connector)
        if not options.is_loopback:
            await _require_tokens(api)
        bound = http_server.listen(options)
        server = build_server(McpConfig(levels, http_server.token_of_request), api)
        address = f"{http_server.in_url(options.host)}:{bound.getsockname()[1]}"
        click.echo(f"MCP at http://{address}{http_server.PATH}")
        await http_server.serve(server, api, options, bound)


async def _require_tokens(api: ApiConnector) -> None:
    """Raise `CommandFailure` where the API takes calls without a token."""
    try:
        async with api.session(None) as session:
            await ApiClient(session, api.base_url).get("whoami")
    except RequestRefused as failure:
        if failure.status == http_server.UNAUTHORIZED:
            return
        raise
    raise CommandFailure(
        f"the API at {api.base_url} takes calls without a token, so only this machine may be"
        " served: set KNOUDS_API_TOKENS for the API, or omit --host"
    )
