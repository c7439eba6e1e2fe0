"""`mcp`: the tools of an assistant, over the Model Context Protocol."""

import importlib.util
from typing import TYPE_CHECKING, Final

import click

from worker.cli.client_session import read_settings
from worker.cli.exit_codes import CommandFailure
from worker.cli.mcp.options import McpHttpOptions, ToolLevel

if TYPE_CHECKING:
    from config.settings import Settings

EXTRA: Final = "mcp"
TRANSPORTS: Final = ("stdio", "http")
DEFAULT_PORT: Final = 8765


@click.command(short_help="Serve tools to an assistant over MCP; read-only by default.")
@click.option("--url", metavar="URL", help="Address of the API, instead of KNOUDS_API_URL.")
@click.option("--allow-enqueue", is_flag=True, help="Offer to enqueue jobs, which cost credits.")
@click.option("--allow-actions", is_flag=True, help="Offer what operators do, dry run first.")
@click.option(
    "--transport",
    type=click.Choice(TRANSPORTS),
    default="stdio",
    show_default=True,
    help="Standard input and output, or streamable HTTP at /mcp.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="With http: listen here.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=DEFAULT_PORT,
    show_default=True,
    help="With http; 0: any that is free.",
)
@click.option(
    "--allowed-host", "hosts", multiple=True, help="With http: a further name it is reached by."
)
@click.option(
    "--allowed-origin", "origins", multiple=True, help="With http: web pages that may call."
)
def mcp(
    *,
    url: str | None,
    allow_enqueue: bool,
    allow_actions: bool,
    transport: str,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
) -> None:
    """Serve tools over the Model Context Protocol, with the role of a token.

    Over stdio the token is KNOUDS_API_TOKEN. Over http each caller sends its own, as bearer, and
    KNOUDS_API_TOKEN is not used. See docs/mcp.md for how to tell an assistant of it.
    """
    if importlib.util.find_spec(EXTRA) is None:
        raise CommandFailure(
            "this command needs the Python SDK of MCP: pip install 'knouds-worker[mcp]'"
        )
    levels = {ToolLevel.READ}
    levels |= {ToolLevel.ENQUEUE} if allow_enqueue else set()
    levels |= {ToolLevel.ACT} if allow_actions else set()
    options = McpHttpOptions(host, port, hosts, origins) if transport == "http" else None
    if options and not options.is_loopback and not hosts:
        raise click.UsageError(
            f"--host {host} opens it to other machines: name what they call it with --allowed-host"
        )
    settings = read_settings()
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise click.UsageError("--url must begin with http:// or https://")
        settings = settings.model_copy(update={"api_url": url.rstrip("/")})
    _serve(settings, frozenset(levels), options)


def _serve(
    settings: "Settings", levels: frozenset[ToolLevel], options: McpHttpOptions | None
) -> None:
    import asyncio  # noqa: PLC0415  not for --help

    from worker.cli.mcp.serving import serve_http, serve_stdio  # noqa: PLC0415  not for --help

    if options is None:
        token = settings.api_token.get_secret_value() if settings.api_token else None
        asyncio.run(serve_stdio(settings.cli_url, token, levels))
    else:
        asyncio.run(serve_http(settings.cli_url, levels, options))
