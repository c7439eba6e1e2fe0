"""`parked`: the jobs that wait for a person, and what a person can do about them."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from worker.cli.actions import act_on_each, are_ids_given, confirm, job_count, read_count
from worker.cli.client_session import call_api
from worker.cli.commands.jobs import list_jobs
from worker.cli.exit_codes import exit_with_first_failure
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
from worker.cli.releasing import Plan, filter_of, plan_release

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient


@click.group(short_help="Parked jobs: list, group, release, resolve.")
def parked() -> None:
    """List and free the jobs that wait for a person: no timer, retry or restart frees them."""


@parked.command()
@scope_options
@batch_options
@page_options
@as_json
def ls(*, as_json: bool, **filters: Any) -> None:
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
    """Put parked jobs back in line, when their cause is cleared.

    By id a job is sent at once, alone, even behind a closed gate. Chosen by --code and the like, or
    with --all, jobs are freed through the holds that parked them: one canary goes first, and if it
    is refused again, the others are never sent. Uncertain jobs are resolved instead, one by one.
    """
    wanted = given_filters(**filters)
    if are_ids_given(job_ids, wanted, everything=everything):
        call_api(lambda api: _act_on_ids(api, job_ids, "release", {"note": note}, dry_run=dry_run))
    else:
        call_api(lambda api: _release_matching(api, wanted, note, dry_run=dry_run, assume_yes=yes))


@parked.command()
@click.argument("job_id")
@click.option("--execution-id", help="It ran: this is its execution at the provider.")
@click.option("--resubmit", is_flag=True, help="Send it again: if it ran, it is paid twice.")
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
    body: dict[str, Any] = {"note": note}
    if execution_id is not None:
        body["execution_id"] = execution_id
    else:
        body["outcome"] = "resubmit" if resubmit else "discard"
    if resubmit:
        confirm("If it ran, it is paid for twice. Send it again?", assume_yes=yes)
    call_api(lambda api: _act_on_ids(api, (job_id,), "resolve", body, dry_run=False))


async def _act_on_ids(
    api: "ApiClient", ids: Sequence[str], action: str, body: dict[str, Any], *, dry_run: bool
) -> None:
    exit_with_first_failure(await act_on_each(api, "jobs", ids, action, body, dry_run=dry_run))


async def _release_matching(
    api: "ApiClient", job_filter: dict[str, Any], note: str, *, dry_run: bool, assume_yes: bool
) -> None:
    held, grouped = await asyncio.gather(
        api.get("holds"), api.get("groups", query={"state": "parked"})
    )
    plan = plan_release(held.doc["items"], grouped.doc["items"], job_filter)
    for line in plan.lines():
        click.echo(line)
    for line in plan.left:
        click.echo(line, err=True)
    if dry_run or not (plan.holds or plan.groups):
        click.echo(f"{job_count(plan.jobs)} would be released" if dry_run else "nothing to release")
        return
    confirm(f"Release {job_count(plan.jobs)}?", assume_yes=assume_yes)
    await _carry_out(api, plan, note)


async def _carry_out(api: "ApiClient", plan: Plan, note: str) -> None:
    freed = 0
    for hold, _ in plan.holds:
        answer = await api.post("holds", str(hold["id"]), "release", body={"note": note})
        freed += read_count(answer.doc, "released")
    for group in plan.groups:
        body = {"filter": filter_of(group), "note": note}
        answer = await api.post("bulk", "release", body=body)
        freed += read_count(answer.doc, "done")
    click.echo(f"{job_count(freed)} back in line")
