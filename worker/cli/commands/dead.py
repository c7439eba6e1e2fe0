"""`dead`: the dead letters, and what a person can do about them."""

from typing import TYPE_CHECKING, Any

import click

from worker.cli.actions import act_on_all, act_on_each, choose
from worker.cli.client_session import talk
from worker.cli.commands.jobs import list_jobs
from worker.cli.exit_codes import end_with_worst
from worker.cli.groups import show_groups
from worker.cli.inputs import SOURCES, read_object
from worker.cli.options import (
    as_json,
    dry_run,
    given,
    job_ids,
    marks,
    note,
    page,
    parsed,
    scope,
    yes,
)

if TYPE_CHECKING:
    from worker.cli.api_client import Api


@click.group(short_help="Dead letters: list, group, requeue, discard.")
def dead() -> None:
    """List dead letters, send them again or discard them: only a person does, and none expires."""


@dead.command()
@scope
@marks
@page
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
    callback=parsed(read_object),
    help="New inputs of the one job named.",
)
@click.option(
    "--patch-inputs",
    metavar=SOURCES,
    callback=parsed(read_object),
    help="Changes to the inputs of all chosen.",
)
@scope
@marks
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
    wanted = given(**filters)
    single = choose(job_ids, wanted, everything=everything)
    if inputs is not None and len(job_ids) != 1:
        raise click.UsageError("--inputs takes exactly one job id; for many, use --patch-inputs")
    if patch_inputs is not None and single:
        raise click.UsageError("--patch-inputs takes options that choose jobs; use --inputs")
    if single:
        body = {"note": note} if inputs is None else {"note": note, "inputs": inputs}
        talk(lambda api: _each(api, job_ids, "requeue", body, dry=dry_run))
    else:
        extra = {} if patch_inputs is None else {"patch_inputs": patch_inputs}
        _all("requeue", wanted, extra, note, dry=dry_run, sure=yes)


@dead.command()
@job_ids
@scope
@marks
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
    wanted = given(**filters)
    if choose(job_ids, wanted, everything=everything):
        talk(lambda api: _each(api, job_ids, "discard", {"note": note}, dry=dry_run))
    else:
        _all("discard", wanted, {}, note, dry=dry_run, sure=yes)


def _all(
    act: str, wanted: dict[str, Any], extra: dict[str, Any], note: str, *, dry: bool, sure: bool
) -> None:
    chosen = {"state": "dead", **wanted}
    talk(lambda api: act_on_all(api, act, chosen, extra=extra, note=note, dry=dry, sure=sure))


async def _each(
    api: "Api", names: tuple[str, ...], act: str, body: dict[str, Any], *, dry: bool
) -> None:
    end_with_worst(await act_on_each(api, "jobs", names, act, body, dry=dry))
