"""`audit`: what operators did."""

import click

from worker.cli.client_session import call_api
from worker.cli.options import as_json, parse_past, parse_with


@click.group(short_help="What operators did: who, when, why, to how many jobs.")
def audit() -> None:
    """Look up what operators did: who, when, what, why, and to how many jobs."""


@audit.command()
@click.option("--by", help="Name of a token, or of an operator.")
@click.option("--act", help="The action, as release or bulk_requeue.")
@click.option(
    "--since",
    metavar="WHEN",
    callback=parse_with(parse_past),
    help="Since this time, or since 2h ago as 2h.",
)
@click.option("--until", metavar="WHEN", callback=parse_with(parse_past), help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--cursor", help="Where the previous page ended.")
@as_json
def ls(*, as_json: bool, **query: str | int | None) -> None:
    """List audit entries, newest first."""
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help
    from worker.cli.tables import audit_list  # noqa: PLC0415  not for --help

    response = call_api(lambda api: api.get("audit", query=query))
    print_document(response.text, response.doc, audit_list, as_json=as_json)
