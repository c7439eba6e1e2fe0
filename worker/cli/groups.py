"""Groups of parked jobs and dead letters, each with what frees it."""

import asyncio
from typing import TYPE_CHECKING

import click

from worker.cli.client_session import talk

if TYPE_CHECKING:
    from worker.cli.api_client import Answer, Api


def show_groups(state: str, *, as_json: bool) -> None:
    """Print the groups of `parked` or `dead`."""

    async def read(api: "Api") -> "tuple[Answer, Answer]":
        return await asyncio.gather(api.get("groups", query={"state": state}), api.get("holds"))

    grouped, held = talk(read)
    if as_json:
        click.echo(grouped.text)
        return

    from worker.cli.output import show  # noqa: PLC0415  not for --help
    from worker.cli.tables import group_list  # noqa: PLC0415  not for --help

    show(*group_list(grouped.doc, state, held.doc["items"]), whole=True)
