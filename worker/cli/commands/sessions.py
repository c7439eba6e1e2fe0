"""`sessions`: browsers that are logged in to the dashboard."""

import click

from worker.cli.actions import act_on_ids
from worker.cli.documents import show_document
from worker.cli.options import as_json, note


@click.group(short_help="Browsers that are logged in: list, revoke.")
def sessions() -> None:
    """List the browsers that are logged in to the dashboard, and end their sessions.

    A session ends by itself 12 hours after its last use, and 7 days after its login.
    """


@sessions.command()
@as_json
def ls(*, as_json: bool) -> None:
    """List the sessions: token, address, since when, and when each ends."""
    show_document("tables:session_list", "sessions", as_json=as_json, no_wrap=True)


@sessions.command()
@click.argument("session_ids", nargs=-1, required=True, metavar="SESSION_ID...")
@note
def revoke(*, session_ids: tuple[str, ...], note: str) -> None:
    """End sessions: their browsers have to log in again."""
    act_on_ids("sessions", session_ids, "revoke", {"note": note})
