"""`callbacks`: what apps are told when their jobs end, and what became of it."""

import click

from worker.cli.actions import act_on_ids
from worker.cli.documents import show_document
from worker.cli.options import as_json, note, page_options

STATES = ("pending", "delivered", "failed")


@click.group(short_help="Callbacks to apps: list, show, resend.")
def callbacks() -> None:
    """List, show and resend callbacks: the events of jobs on their way to apps.

    A callback is tried for three days; a failed one is kept for review, as long as jobs are.
    """


@callbacks.command()
@click.option("--state", type=click.Choice(STATES), help="Their state.")
@click.option("--host", help="The host that they go to, as hooks.example.com.")
@click.option("--job", help="The job that they report.")
@click.option("--batch", help="The batch that they report.")
@page_options
def ls(*, as_json: bool, **query: str | int | None) -> None:
    """List callbacks, newest first, and the hosts that are down."""
    show_document("callback_tables:callback_list", "callbacks", query=query, as_json=as_json)


@callbacks.command()
@click.argument("callback_id")
@as_json
def show(*, callback_id: str, as_json: bool) -> None:
    """Show a callback: what became of its tries, and when it is tried next."""
    show_document("callback_tables:callback_page", "callbacks", callback_id, as_json=as_json)


@callbacks.command()
@click.argument("callback_ids", nargs=-1, required=True, metavar="CALLBACK_ID...")
@note
def resend(*, callback_ids: tuple[str, ...], note: str) -> None:
    """Send callbacks again now, with the same id and body."""
    act_on_ids("callbacks", callback_ids, "resend", {"note": note})
