"""`dead`: the dead letters, and what a person can do about them."""

from typing import TYPE_CHECKING, Any

import click

from worker.cli.actions import act_on_all, act_on_each, are_ids_given
from worker.cli.client_session import call_api
from worker.cli.commands.jobs import list_jobs
from worker.cli.exit_codes import exit_with_first_failure
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

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient


@click.group(short_help="Dead letters: list, group, requeue, discard.")
def dead() -> None:
    """List dead letters, send them again or discard them: only a person does, and none expires."""


@dead.command()
@scope_options
@batch_options
@page_options
@as_json
def ls(*, as_json: bool, **filters: Any) -> None:
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
    help="Changes to the inputs of all chosen.",
)
@scope_options
@batch_options
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@note
@dry_run
@yes
def requeue(
    *,
    job_ids: tuple[str, ...],
    inputs: dict[str, Any] | None,
    patch_inputs: dict[str, Any] | None,
    everything: bool,
    note: str,
    dry_run: bool,
    yes: bool,
    **filters: str | None,
) -> None:
    """Send dead letters down the road again, with a new set of attempts."""
    wanted = given_filters(**filters)
    single = are_ids_given(job_ids, wanted, everything=everything)
    if inputs is not None and len(job_ids) != 1:
        raise click.UsageError("--inputs takes exactly one job id; for many, use --patch-inputs")
    if patch_inputs is not None and single:
        raise click.UsageError("--patch-inputs takes options that choose jobs; use --inputs")
    if single:
        body = {"note": note} if inputs is None else {"note": note, "inputs": inputs}
        call_api(lambda api: _act_on_ids(api, job_ids, "requeue", body, dry_run=dry_run))
    else:
        extra = {} if patch_inputs is None else {"patch_inputs": patch_inputs}
        _act_on_filter("requeue", wanted, extra, note, dry_run=dry_run, assume_yes=yes)


@dead.command()
@job_ids
@scope_options
@batch_options
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
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
    """Give dead letters up; they stay on record until retention removes them."""
    wanted = given_filters(**filters)
    if are_ids_given(job_ids, wanted, everything=everything):
        call_api(lambda api: _act_on_ids(api, job_ids, "discard", {"note": note}, dry_run=dry_run))
    else:
        _act_on_filter("discard", wanted, {}, note, dry_run=dry_run, assume_yes=yes)


def _act_on_filter(
    action: str,
    job_filter: dict[str, Any],
    extra: dict[str, Any],
    note: str,
    *,
    dry_run: bool,
    assume_yes: bool,
) -> None:
    chosen = {"state": "dead", **job_filter}
    call_api(
        lambda api: act_on_all(
            api, action, chosen, extra=extra, note=note, dry_run=dry_run, assume_yes=assume_yes
        )
    )


async def _act_on_ids(
    api: "ApiClient", ids: tuple[str, ...], action: str, body: dict[str, Any], *, dry_run: bool
) -> None:
    exit_with_first_failure(await act_on_each(api, "jobs", ids, action, body, dry_run=dry_run))
