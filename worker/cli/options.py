"""Options that several commands share."""

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from jobs.evidence.records import EvidenceFinding
from jobs.states import Kind, State
from worker.cli.text import parse_moment

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

STATES: Final = tuple(state.value for state in State)
KINDS: Final = tuple(kind.value for kind in Kind)
FINDINGS: Final = tuple(finding.value for finding in EvidenceFinding)


def parse_with(
    parse: Callable[[str], T],
) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """A click callback that parses an option's text; a ValueError becomes a usage error."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> T | None:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback


def past_option(name: str, help_text: str) -> Callable[[F], F]:
    """An option for a time, or a duration ago (`2h`); its value is RFC 3339."""
    callback = parse_with(lambda text: parse_moment(text, time.time()))
    return click.option(name, metavar="WHEN", callback=callback, help=help_text)


def all_of(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several options as one decorator; `--help` lists them in this order."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


as_json = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")
note = click.option("--note", default="", help="Why you do this, for the audit log.")
dry_run = click.option("--dry-run", is_flag=True, help="Only show what would be done.")
yes = click.option(
    "--yes",
    "-y",
    is_flag=True,
    help="Do not ask for confirmation; needed where there is no terminal to ask on.",
)
act_options = all_of(note, dry_run, yes)
"""The options of every action on many jobs."""
page_options = all_of(
    click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True),
    click.option("--cursor", help="Where the previous page ended."),
    as_json,
)
job_ids = click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")


lane_options = all_of(
    click.option("--kind", type=click.Choice(KINDS), help="Model or workflow."),
    click.option("--target", help="Name of the model or workflow."),
    click.option("--account", help="Account label."),
)
scope_options = all_of(
    click.option("--code", help="Error code, exactly as shown."),
    lane_options,
)
batch_options = all_of(
    click.option("--batch", help="Name of a batch."),
    click.option("--tag", help="One of their tags."),
    click.option("--fair-key", help="Their fair key."),
    click.option("--after", metavar="JOB", help="A job that they were to wait for."),
)
finding = click.option(
    "--finding",
    type=click.Choice(FINDINGS),
    help="Of uncertain jobs: what the provider's list of runs says.",
)
time_options = all_of(
    past_option("--since", "Enqueued since this time, or since 2h ago as 2h."),
    past_option("--until", "Enqueued before this time."),
)
cause_option = click.option("--cause", help="Why an outcome is unknown: HTTP_502, worker_lost …")
job_list_options = all_of(
    scope_options, cause_option, finding, batch_options, time_options, page_options
)
"""The options of every list of jobs."""
