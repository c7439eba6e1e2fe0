"""`parked`: jobs that wait for an operator, and what an operator can do about them."""

import click

from worker.cli.actions import act_on_ids, act_on_matching, are_ids_given, confirm
from worker.cli.commands.jobs import list_jobs
from worker.cli.groups import show_groups
from worker.cli.options import (
    as_json,
    batch_options,
    dry_run,
    given_filters,
    job_ids,
    note,
    page_options,
    scope_options,
    yes,
)
from worker.cli.text import Doc


@click.group(short_help="Parked jobs: list, group, release, resolve.")
def parked() -> None:
    """List, release and resolve parked jobs. No timer, retry or restart does it."""


@parked.command()
@scope_options
@batch_options
@page_options
@as_json
def ls(*, as_json: bool, **filters: str | int | None) -> None:
    """List parked jobs, newest first."""
    list_jobs({"state": "parked", **filters}, as_json=as_json)


@parked.command()
@as_json
def groups(*, as_json: bool) -> None:
    """Show parked jobs by cause: how many, what to do, and the command that frees them."""
    show_groups("parked", as_json=as_json)


@parked.command()
@job_ids
@scope_options
@click.option("--all", "everything", is_flag=True, help="All parked jobs.")
@note
@dry_run
@yes
def release(
    *,
    job_ids: tuple[str, ...],
    everything: bool,
    note: str,
    dry_run: bool,
    yes: bool,
    **filters: str | None,
) -> None:
    """Return parked jobs to the queue, once their cause is fixed.

    A job named by id is submitted at once, alone, even behind a closed gate. Jobs chosen by --code
    and the like, or with --all, are released through the holds that parked them: one canary goes
    first, and if it is refused again, the others are not sent. Uncertain jobs are skipped: resolve
    them one by one.
    """
    wanted = given_filters(**filters)
    if are_ids_given(job_ids, wanted, everything=everything):
        act_on_ids("jobs", job_ids, "release", {"note": note}, dry_run=dry_run)
    else:
        job_filter = {"state": "parked", **wanted}
        act_on_matching("release", job_filter, note=note, dry_run=dry_run, assume_yes=yes)


@parked.command()
@click.argument("job_id")
@click.option("--execution-id", help="It ran: this is its execution at the provider.")
@click.option("--resubmit", is_flag=True, help="Submit it again: if it ran, it is paid twice.")
@click.option("--discard", is_flag=True, help="Give it up.")
@note
@yes
def resolve(
    *,
    job_id: str,
    execution_id: str | None,
    resubmit: bool,
    discard: bool,
    note: str,
    yes: bool,
) -> None:
    """Resolve a job whose outcome is unknown: attach its execution, resubmit or discard it."""
    if (execution_id is not None) + resubmit + discard != 1:
        raise click.UsageError("give exactly one of --execution-id, --resubmit, --discard")
    body: Doc = {"note": note}
    if execution_id is not None:
        body["execution_id"] = execution_id
    else:
        body["outcome"] = "resubmit" if resubmit else "discard"
    if resubmit:
        confirm("If the job ran, you pay twice. Submit it again?", assume_yes=yes)
    act_on_ids("jobs", (job_id,), "resolve", body)
