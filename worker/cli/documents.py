"""Prints what the API sends: as JSON, or as a page of its own."""

import asyncio
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from worker.cli.client_session import call_api

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse


def show_document(
    view: str,
    *path: str,
    query: Mapping[str, str | int | None] | None = None,
    as_json: bool,
    no_wrap: bool = False,
) -> None:
    """Read a document and print it: as the API sent it, or as `view` shows it.

    `view` is the module and name of a function, as `tables:job_list`: it is imported only when a
    command runs, since it loads rich. With `no_wrap`, a line may be wider than the terminal.
    """
    response = call_api(lambda api: api.get(*path, query=query))
    if as_json:
        click.echo(response.text)
        return

    from worker.cli.output import show  # noqa: PLC0415  not for --help

    show(*pkgutil.resolve_name(f"worker.cli.{view}")(response.doc), no_wrap=no_wrap)


def show_groups(state: str, *, as_json: bool) -> None:
    """Print the groups of `parked` or `dead`, each with the command for it."""

    async def read(api: "ApiClient") -> "tuple[ApiResponse, ApiResponse]":
        return await asyncio.gather(api.get("groups", query={"state": state}), api.get("holds"))

    groups, holds = call_api(read)
    if as_json:
        click.echo(groups.text)
        return

    from worker.cli.output import show  # noqa: PLC0415  not for --help
    from worker.cli.tables import group_list  # noqa: PLC0415  not for --help

    show(*group_list(groups.doc, state, holds.doc["items"]), no_wrap=True)
