"""`jobs`: list, show, explain, edit, cancel, park and erase."""

from typing import TYPE_CHECKING, Any

import click

from jobs.texts import pluralize
from worker.cli import options
from worker.cli.actions import act_on_each_id, act_on_ids, act_on_jobs
from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.moments import parse_run_at, parse_start_by
from worker.cli.next_steps import UNCERTAIN
from worker.cli.text import Doc

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse


@click.group(short_help="List, show, explain, edit, cancel and park jobs.")
def jobs() -> None:
    """List, show, explain, edit, cancel and park jobs."""


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

    async def erase_one(api: "ApiClient", job_id: str) -> str:
        await api.delete("jobs", job_id, "payloads", body={"note": note, "force": force})
        return "erased"

    act_on_each_id(job_ids, erase_one)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher goes first.")
@click.option("--tag", "tags", multiple=True, help="Repeatable: all its tags from now on.")
@click.option("--no-tags", is_flag=True, help="Take its tags away.")
@click.option(
    "--run-at",
    metavar="WHEN",
    callback=options.parse_with(parse_run_at),
    help="Run at or after this time; now, or 30m from now.",
)
@click.option(
    "--start-by",
    metavar="WHEN",
    callback=options.parse_with(parse_start_by),
    help="Cancel it unless it is sent by then; none takes that away.",
)
@options.note
def edit(*, job_ids: tuple[str, ...], tags: tuple[str, ...], no_tags: bool, **given: Any) -> None:
    """Change priority, tags or times of jobs that are not at the provider."""
    if tags and no_tags:
        raise click.UsageError("give --tag or --no-tags, not both")
    body: Doc = {name: value for name, value in given.items() if value is not None}
    if tags or no_tags:
        body["tags"] = list(tags)
    if set(body) <= {"note"}:
        raise click.UsageError("give --priority, --tag, --no-tags, --run-at or --start-by")

    async def edit_one(api: "ApiClient", job_id: str) -> str:
        return f"edited, {(await api.patch('jobs', job_id, body=body)).doc['state']}"

    act_on_each_id(job_ids, edit_one)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@options.note
def park(*, job_ids: tuple[str, ...], note: str) -> None:
    """Park jobs: they wait until an operator releases them."""
    act_on_ids("jobs", job_ids, "park", {"note": note})
