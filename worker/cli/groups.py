"""Groups of parked jobs and dead letters, each with the command for it."""

import asyncio
from typing import TYPE_CHECKING

import click

from worker.cli.client_session import call_api

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse


def show_groups(state: str, *, as_json: bool) -> None:
    """Print the groups of `parked` or `dead`."""

    async def read(api: "ApiClient") -> "tuple[ApiResponse, ApiResponse]":
        return await asyncio.gather(api.get("groups", query={"state": state}), api.get("holds"))

    groups, holds = call_api(read)
    if as_json:
        click.echo(groups.text)
        return

    from worker.cli.output import show  # noqa: PLC0415  not for --help
    from worker.cli.tables import group_list  # noqa: PLC0415  not for --help

    show(*group_list(groups.doc, state, holds.doc["items"]), no_wrap=True)
