"""`audit`: what people did."""

from typing import Any

import click

from worker.cli.client_session import talk
from worker.cli.options import as_json, parse_past, parsed


@click.group(short_help="What people did: who, when, why, to how many jobs.")
def audit() -> None:
    """Look up what people did: who, when, what, on what, why, and to how many jobs."""


@audit.command()
@click.option("--by", help="Name of a token, or of a person.")
@click.option("--act", help="What they did, as release or bulk_requeue.")
@click.option(
    "--since", metavar="WHEN", callback=parsed(parse_past), help="Since then, as 2h or a time."
)
@click.option("--until", metavar="WHEN", callback=parsed(parse_past), help="Before then.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--cursor", help="Where the page before left off.")
@as_json
def ls(*, as_json: bool, **query: Any) -> None:
    """List acts of people, newest first."""
    from worker.cli.output import emit  # noqa: PLC0415  not for --help
    from worker.cli.tables import audit_list  # noqa: PLC0415  not for --help

    answer = talk(lambda api: api.get("audit", query=query))
    emit(answer.text, answer.doc, audit_list, as_json=as_json)
