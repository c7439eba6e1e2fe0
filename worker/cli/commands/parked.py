"""`parked`: jobs that wait for an operator, and what an operator can do about them."""

from typing import Any, Final

import click

from worker.cli import options
from worker.cli.actions import act_on_ids, act_on_jobs, confirm
from worker.cli.documents import show_document, show_groups
from worker.cli.inputs import SOURCES, read_object
from worker.cli.text import Doc

ACT_OPTIONS: Final = ("note", "dry_run", "yes")


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
@click.option(
    "--inputs",
    metavar=SOURCES,
    callback=options.parse_with(read_object),
    help="New inputs of the one job named.",
)
@options.act_options
def release(*, job_ids: tuple[str, ...], inputs: Doc | None, **given: Any) -> None:
    """Return parked jobs to the queue, once their cause is fixed.

    A job named by id is submitted at once, alone, even behind a closed gate. Jobs chosen by --code
    and the like, or with --all, are released through the holds that parked them: one canary goes
    first, and if it is refused again, the others are not sent. Stuck runs are polled for another
    deadline, and nothing is sent for them. Uncertain jobs are skipped: see `parked resolve`.
    """
    if inputs is not None and len(job_ids) != 1:
        raise click.UsageError("--inputs takes exactly one job id")
    fields = {} if inputs is None else {"inputs": inputs}
    act_on_jobs("release", job_ids, only_state="parked", fields=fields, **given)


@parked.command()
@options.job_ids
@click.option("--execution-id", help="It ran: this is its execution at the provider (one job).")
@click.option("--resubmit", is_flag=True, help="Submit it again: if it ran, it is paid twice.")
@click.option("--discard", is_flag=True, help="Give it up.")
@options.cause_option
@options.finding
@options.lane_options
@options.batch_options
@options.time_options
@click.option("--all", "everything", is_flag=True, help="All uncertain jobs.")
@options.act_options
def resolve(
    *,
    job_ids: tuple[str, ...],
    execution_id: str | None,
    resubmit: bool,
    discard: bool,
    **given: Any,
) -> None:
    """Resolve jobs whose outcome is unknown: attach an execution, resubmit or discard them.

    Name jobs by id, or choose them by --cause and the like: `parked groups` shows the causes. With
    --finding not_started --resubmit, those are submitted again that did not start by the provider's
    list of runs, without a known risk; findings older than 5 minutes are read again first.
    """
    if (execution_id is not None) + resubmit + discard != 1:
        raise click.UsageError("give exactly one of --execution-id, --resubmit, --discard")
    chosen = {name: value for name, value in given.items() if name not in ACT_OPTIONS and value}
    if bool(job_ids) == bool(chosen):
        raise click.UsageError("give either job ids, or options that choose jobs (see --help)")
    if execution_id is not None and len(job_ids) != 1:
        raise click.UsageError("give one job id with --execution-id: a run belongs to one job")
    act: Doc = {name: given[name] for name in ACT_OPTIONS}
    outcome = "resubmit" if resubmit else "discard"
    if not job_ids:
        given["code"] = "uncertain"
        act_on_jobs(outcome, (), only_state="parked", **given)
    elif execution_id is not None:
        _resolve_by_id(job_ids, {"execution_id": execution_id}, act)
    else:
        _resolve_by_id(job_ids, {"outcome": outcome}, act)


def _resolve_by_id(job_ids: tuple[str, ...], resolution: Doc, act: Doc) -> None:
    if resolution.get("outcome") == "resubmit" and not act["dry_run"]:
        jobs = "the job" if len(job_ids) == 1 else f"any of these {len(job_ids)} jobs"
        confirm(f"If {jobs} ran, you pay twice. Submit again?", assume_yes=act["yes"])
    body: Doc = {"note": act["note"], **resolution}
    act_on_ids("jobs", job_ids, "resolve", body, dry_run=act["dry_run"])


@parked.command(name="reconcile-on")
@click.argument("account")
@options.note
def reconcile_on(*, account: str, note: str) -> None:
    """Trust the provider's list again, after a late row switched `reconcile` off for an account."""
    act_on_ids("accounts", (account,), "reconcile-on", {"note": note})
