"""`credits`: what runs cost."""

import time
from datetime import UTC, datetime
from typing import Final

import click

from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.options import as_json, parse_with
from worker.cli.text import parse_moment

BY: Final = ("day", "account", "target", "tag", "batch")


def _day(text: str) -> str:
    """A day of UTC: as given, or of a time, or of a duration ago."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return parse_moment(text, time.time())[:10]


@click.command()
@click.option("--by", type=click.Choice(BY), default="day", show_default=True, help="The rows.")
@click.option(
    "--since",
    metavar="DAY",
    callback=parse_with(_day),
    help="The first day (UTC), as 2026-11-01, or 30d for 30 days ago. By default 29 days before"
    " the last.",
)
@click.option(
    "--until", metavar="DAY", callback=parse_with(_day), help="The last day. By default today."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, without the total.")
@as_json
def credits(  # noqa: A001  the command's name
    *, by: str, since: str | None, until: str | None, as_csv: bool, as_json: bool
) -> None:
    """Show what runs cost: by day, account, target, tag or batch.

    A charge belongs to the day (UTC) on which its attempt ended. Estimates are corrected once the
    provider's list of runs tells what a run cost. Tags overlap.
    """
    query: dict[str, str | int | None] = {"by": by, "since": since, "until": until}
    if as_csv:
        response = call_api(lambda api: api.get("credits.csv", query=query))
        click.echo(response.text, nl=False)
        return
    show_document("tables:credit_list", "credits", query=query, as_json=as_json)
