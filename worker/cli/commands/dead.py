"""`dead`: dead letters, and what an operator can do about them."""

from typing import Any

import click

from worker.cli import options
from worker.cli.actions import act_on_jobs
from worker.cli.documents import show_document, show_groups
from worker.cli.inputs import SOURCES, read_object
from worker.cli.text import Doc

dead_letter_options = options.all_of(
    options.scope_options,
    options.batch_options,
    click.option("--all", "everything", is_flag=True, help="All dead letters."),
    options.act_options,
)


@click.group(short_help="Dead letters: list, group, requeue, discard.")
def dead() -> None:
    """List, requeue and discard dead letters. Only an operator does; none expires."""


@dead.command()
@options.job_list_options
def ls(*, as_json: bool, **filters: str | int | None) -> None:
    """List dead letters, newest first."""
    query = {"state": "dead", **filters}
    show_document("tables:job_list", "jobs", query=query, as_json=as_json)


@dead.command()
@options.as_json
def groups(*, as_json: bool) -> None:
    """Show dead letters by cause: how many, what to do, and the command for it."""
    show_groups("dead", as_json=as_json)


@dead.command()
@options.job_ids
@click.option(
    "--inputs",
    metavar=SOURCES,
    callback=options.parse_with(read_object),
    help="New inputs of the one job named.",
)
@click.option(
    "--patch-inputs",
    metavar=SOURCES,
    callback=options.parse_with(read_object),
    help="Merge patch for the inputs of all chosen jobs.",
)
@dead_letter_options
def requeue(
    *, job_ids: tuple[str, ...], inputs: Doc | None, patch_inputs: Doc | None, **given: Any
) -> None:
    """Requeue dead letters, with a new set of attempts."""
    if inputs is not None and len(job_ids) != 1:
        raise click.UsageError("--inputs takes exactly one job id; for many, use --patch-inputs")
    if patch_inputs is not None and job_ids:
        raise click.UsageError("--patch-inputs takes options that choose jobs; use --inputs")
    changes = {"inputs": inputs, "patch_inputs": patch_inputs}
    fields = {name: value for name, value in changes.items() if value is not None}
    act_on_jobs("requeue", job_ids, only_state="dead", fields=fields, **given)


@dead.command()
@options.job_ids
@dead_letter_options
def discard(*, job_ids: tuple[str, ...], **given: Any) -> None:
    """Discard dead letters. They stay on record until retention removes them."""
    act_on_jobs("discard", job_ids, only_state="dead", **given)
