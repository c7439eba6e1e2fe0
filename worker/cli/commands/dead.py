"""`dead`: dead letters, and what an operator can do about them."""

import click

from worker.cli.actions import act_on_ids, act_on_matching, are_ids_given
from worker.cli.commands.jobs import list_jobs
from worker.cli.groups import show_groups
from worker.cli.inputs import SOURCES, read_object
from worker.cli.options import (
    as_json,
    batch_options,
    dry_run,
    given_filters,
    job_ids,
    note,
    page_options,
    parse_with,
    scope_options,
    yes,
)
from worker.cli.text import Doc

all_dead = click.option("--all", "everything", is_flag=True, help="All dead letters.")


@click.group(short_help="Dead letters: list, group, requeue, discard.")
def dead() -> None:
    """List, requeue and discard dead letters. Only an operator does; none expires."""


@dead.command()
@scope_options
@batch_options
@page_options
@as_json
def ls(*, as_json: bool, **filters: str | int | None) -> None:
    """List dead letters, newest first."""
    list_jobs({"state": "dead", **filters}, as_json=as_json)


@dead.command()
@as_json
def groups(*, as_json: bool) -> None:
    """Show dead letters by cause: how many, what to do, and the command for it."""
    show_groups("dead", as_json=as_json)


@dead.command()
@job_ids
@click.option(
    "--inputs",
    metavar=SOURCES,
    callback=parse_with(read_object),
    help="New inputs of the one job named.",
)
@click.option(
    "--patch-inputs",
    metavar=SOURCES,
    callback=parse_with(read_object),
    help="Merge patch for the inputs of all chosen jobs.",
)
@scope_options
@batch_options
@all_dead
@note
@dry_run
@yes
def requeue(
    *,
    job_ids: tuple[str, ...],
    inputs: Doc | None,
    patch_inputs: Doc | None,
    everything: bool,
    note: str,
    dry_run: bool,
    yes: bool,
    **filters: str | None,
) -> None:
    """Requeue dead letters, with a new set of attempts."""
    wanted = given_filters(**filters)
    has_ids = are_ids_given(job_ids, wanted, everything=everything)
    if inputs is not None and len(job_ids) != 1:
        raise click.UsageError("--inputs takes exactly one job id; for many, use --patch-inputs")
    if patch_inputs is not None and has_ids:
        raise click.UsageError("--patch-inputs takes options that choose jobs; use --inputs")
    if has_ids:
        body = {"note": note} if inputs is None else {"note": note, "inputs": inputs}
        act_on_ids("jobs", job_ids, "requeue", body, dry_run=dry_run)
    else:
        act_on_matching(
            "requeue",
            {"state": "dead", **wanted},
            note=note,
            dry_run=dry_run,
            assume_yes=yes,
            extra=None if patch_inputs is None else {"patch_inputs": patch_inputs},
        )


@dead.command()
@job_ids
@scope_options
@batch_options
@all_dead
@note
@dry_run
@yes
def discard(
    *,
    job_ids: tuple[str, ...],
    everything: bool,
    note: str,
    dry_run: bool,
    yes: bool,
    **filters: str | None,
) -> None:
    """Discard dead letters. They stay on record until retention removes them."""
    wanted = given_filters(**filters)
    if are_ids_given(job_ids, wanted, everything=everything):
        act_on_ids("jobs", job_ids, "discard", {"note": note}, dry_run=dry_run)
    else:
        job_filter = {"state": "dead", **wanted}
        act_on_matching("discard", job_filter, note=note, dry_run=dry_run, assume_yes=yes)
