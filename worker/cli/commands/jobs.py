"""`jobs`: list, show, explain, cancel, park and erase."""

from typing import TYPE_CHECKING, Any

import click

from jobs.texts import pluralize
from worker.cli import options
from worker.cli.actions import act_on_ids, act_on_jobs
from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.exit_codes import CommandExit, CommandFailure, ExitCode
from worker.cli.next_steps import UNCERTAIN
from worker.cli.text import Doc, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse


@click.group(short_help="List, show, explain, cancel and park jobs.")
def jobs() -> None:
    """List, show, explain, cancel and park jobs."""


@jobs.command()
@click.option("--state", type=click.Choice(options.STATES), help="Their state.")
@options.job_list_options
def ls(*, as_json: bool, **filters: str | int | None) -> None:
    """List jobs, newest first."""
    show_document("tables:job_list", "jobs", query=filters, as_json=as_json)


@jobs.command()
@click.argument("job_id")
@options.as_json
def get(*, job_id: str, as_json: bool) -> None:
    """Show a job: its timeline, its attempts, why it stopped and the command that frees it."""
    from worker.cli.job_view import job_page  # noqa: PLC0415  not for --help
    from worker.cli.output import show  # noqa: PLC0415  not for --help

    response, evidence = call_api(
        lambda api: _get_with_evidence(api, job_id, include_evidence=not as_json)
    )
    if as_json:
        click.echo(response.text)
    else:
        show(*job_page(response.doc, evidence))


async def _get_with_evidence(
    api: "ApiClient", job_id: str, *, include_evidence: bool
) -> "tuple[ApiResponse, Doc | None]":
    """A job, and what is known of its submit where it is uncertain."""
    response = await api.get("jobs", job_id)
    reason: Doc = response.doc.get("reason") or {}
    is_waiting = response.doc.get("state") in ("parked", "retrying")
    is_uncertain = is_waiting and reason.get("code") == UNCERTAIN
    if not (include_evidence and is_uncertain):
        return response, None
    return response, (await api.get("jobs", job_id, "why")).doc.get("evidence")


@jobs.command()
@click.argument("job_id")
@options.as_json
def why(*, job_id: str, as_json: bool) -> None:
    """Say what keeps a job from running."""
    show_document("job_view:why_page", "jobs", job_id, "why", as_json=as_json)


@jobs.command()
@options.job_ids
@click.option("--state", type=click.Choice(options.STATES), help="Their state.")
@options.scope_options
@options.batch_options
@options.act_options
def cancel(*, job_ids: tuple[str, ...], **given: Any) -> None:
    """Cancel jobs, also at the provider: by id, or all that the options choose."""
    act_on_jobs("cancel", job_ids, **given)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@click.option("--force", is_flag=True, help="Also of dead and parked jobs, which cannot run then.")
@options.note
@options.yes
def erase(*, job_ids: tuple[str, ...], force: bool, note: str, yes: bool) -> None:
    """Erase the inputs and results of settled jobs for good; their records stay."""
    if not yes:
        click.confirm(f"Erase the payloads of {pluralize(len(job_ids), 'job')}?", abort=True)

    async def erase_each(api: "ApiClient") -> bool:
        are_all_done = True
        for job_id in job_ids:
            try:
                await api.delete("jobs", job_id, "payloads", body={"note": note, "force": force})
            except CommandFailure as failure:
                if failure.exit_code != ExitCode.FAILED:
                    raise
                click.echo(f"{sanitize(job_id)}: {failure.message}", err=True)
                are_all_done = False
            else:
                click.echo(f"{sanitize(job_id)}: erased")
        return are_all_done

    if not call_api(erase_each):
        raise CommandExit(ExitCode.FAILED)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@options.note
def park(*, job_ids: tuple[str, ...], note: str) -> None:
    """Park jobs: they wait until an operator releases them."""
    act_on_ids("jobs", job_ids, "park", {"note": note})
