"""`audit`: what operators did."""

import click

from worker.cli.documents import show_document
from worker.cli.options import page_options, past_option


@click.group(short_help="What operators did: who, when, why, to how many jobs.")
def audit() -> None:
    """Look up what operators did: who, when, what, why, and to how many jobs."""


@audit.command()
@click.option("--by", help="Name of a token, or of an operator.")
@click.option("--act", help="The action, as release or bulk_requeue.")
@past_option("--since", "Since this time, or since 2h ago as 2h.")
@past_option("--until", "Before this time.")
@page_options
def ls(*, as_json: bool, **query: str | int | None) -> None:
    """List audit entries, newest first."""
    show_document("tables:audit_list", "audit", query=query, as_json=as_json)
