"""`parked`: jobs that wait for an operator, and what an operator can do about them."""

from typing import Any

import click

from worker.cli import options
from worker.cli.actions import act_on_ids, act_on_jobs, confirm
from worker.cli.documents import show_document, show_groups
from worker.cli.text import Doc


@click.group(short_help="Parked jobs: list, group, release, resolve.")
def parked() -> None:
    """List, release and resolve parked jobs. No timer, retry or restart does it."""


@parked.command()
@options.job_list_options
def ls(*, as_json: bool, **filters: str | int | None) -> None:
    """List parked jobs, newest first."""
    query = {"state": "parked", **filters}
    show_document("tables:job_list", "jobs", query=query, as_json=as_json)


@parked.command()
@options.as_json
def groups(*, as_json: bool) -> None:
    """Show parked jobs by cause: how many, what to do, and the command that frees them."""
    show_groups("parked", as_json=as_json)


@parked.command()
@options.job_ids
@options.scope_options
@click.option("--all", "everything", is_flag=True, help="All parked jobs.")
@options.act_options
def release(*, job_ids: tuple[str, ...], **given: Any) -> None:
    """Return parked jobs to the queue, once their cause is fixed.

    A job named by id is submitted at once, alone, even behind a closed gate. Jobs chosen by --code
    and the like, or with --all, are released through the holds that parked them: one canary goes
    first, and if it is refused again, the others are not sent. Uncertain jobs are skipped: resolve
    them one by one.
    """
    act_on_jobs("release", job_ids, only_state="parked", **given)


@parked.command()
@click.argument("job_id")
@click.option("--execution-id", help="It ran: this is its execution at the provider.")
@click.option("--resubmit", is_flag=True, help="Submit it again: if it ran, it is paid twice.")
@click.option("--discard", is_flag=True, help="Give it up.")
@options.note
@options.yes
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
