"""Options that several commands share, and what they parse to."""

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from worker.cli.text import parse_moment

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

STATES: Final = (
    "scheduled",
    "queued",
    "submitting",
    "running",
    "retrying",
    "parked",
    "cancelling",
    "succeeded",
    "dead",
    "cancelled",
)
KINDS: Final = ("model", "workflow")


def parse_with(
    parse: Callable[[str], T],
) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """An option's callback that reads its text; what `parse` raises becomes a usage error."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> T | None:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback


def parse_past(text: str) -> str:
    """A time gone by, or a length of time ago, as RFC 3339."""
    return parse_moment(text, time.time())


as_json = click.option("--json", "as_json", is_flag=True, help="The API's answer as it is.")
note = click.option("--note", default="", help="Why you do this, for the record.")
dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
job_ids = click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")


def scope_options(function: F) -> F:
    """Add the options that choose jobs by what they run and why they stopped."""
    options = (
        click.option("--code", help="Error code, letter for letter."),
        click.option("--kind", type=click.Choice(KINDS), help="What they run."),
        click.option("--target", help="Model or workflow."),
        click.option("--account", help="Account label."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def batch_options(function: F) -> F:
    """Add the options that choose jobs by batch and tag."""
    options = (
        click.option("--batch", help="Name of a batch."),
        click.option("--tag", help="One of their tags."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def page_options(function: F) -> F:
    """Add the options that choose a page of a list."""
    options = (
        click.option(
            "--since",
            metavar="WHEN",
            callback=parse_with(parse_past),
            help="Enqueued since then, as 2h or a time.",
        ),
        click.option(
            "--until", metavar="WHEN", callback=parse_with(parse_past), help="Enqueued before then."
        ),
        click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True),
        click.option("--cursor", help="Where the page before left off."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def given_filters(**filters: str | None) -> dict[str, Any]:
    """The filters that were given."""
    return {name: value for name, value in filters.items() if value is not None}
