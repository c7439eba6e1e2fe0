"""`audit`: what people did."""

from typing import Any

import click

from worker.cli.client_session import call_api
from worker.cli.options import as_json, parse_past, parse_with


@click.group(short_help="What people did: who, when, why, to how many jobs.")
def audit() -> None:
    """Look up what people did: who, when, what, on what, why, and to how many jobs."""


@audit.command()
@click.option("--by", help="Name of a token, or of a person.")
@click.option("--act", help="What they did, as release or bulk_requeue.")
@click.option(
    "--since", metavar="WHEN", callback=parse_with(parse_past), help="Since then, as 2h or a time."
)
@click.option("--until", metavar="WHEN", callback=parse_with(parse_past), help="Before then.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--cursor", help="Where the page before left off.")
@as_json
def ls(*, as_json: bool, **query: Any) -> None:
    """List acts of people, newest first."""
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help
    from worker.cli.tables import audit_list  # noqa: PLC0415  not for --help

    answer = call_api(lambda api: api.get("audit", query=query))
    print_document(answer.text, answer.doc, audit_list, as_json=as_json)
