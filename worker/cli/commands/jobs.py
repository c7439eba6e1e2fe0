"""`jobs`: list, show, explain, cancel and park."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from worker.cli.actions import act_on_ids, act_on_matching, are_ids_given
from worker.cli.client_session import call_api
from worker.cli.next_steps import UNCERTAIN
from worker.cli.options import (
    STATES,
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

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse


@click.group(short_help="List, show, explain, cancel and park jobs.")
def jobs() -> None:
    """List, show, explain, cancel and park jobs."""


@jobs.command()
@click.option("--state", type=click.Choice(STATES), help="Their state.")
@scope_options
@batch_options
@page_options
@as_json
def ls(*, as_json: bool, **filters: str | int | None) -> None:
    """List jobs, newest first."""
    list_jobs(filters, as_json=as_json)


@jobs.command()
@click.argument("job_id")
@as_json
def get(*, job_id: str, as_json: bool) -> None:
    """Show a job: its timeline, its attempts, why it stopped and the command that frees it."""
    from worker.cli.job_view import job_page  # noqa: PLC0415  not for --help
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help

    response, evidence = call_api(
        lambda api: _get_with_evidence(api, job_id, include_evidence=not as_json)
    )
    print_document(
        response.text, response.doc, lambda doc: job_page(doc, evidence), as_json=as_json
    )


async def _get_with_evidence(
    api: "ApiClient", job_id: str, *, include_evidence: bool
) -> "tuple[ApiResponse, Doc | None]":
    """A job, and what is known of its submit where it is uncertain."""
    response = await api.get("jobs", job_id)
    reason: Doc = response.doc.get("reason") or {}
    is_uncertain = response.doc.get("state") == "parked" and reason.get("code") == UNCERTAIN
    if not (include_evidence and is_uncertain):
        return response, None
    return response, (await api.get("jobs", job_id, "why")).doc.get("evidence")


@jobs.command()
@click.argument("job_id")
@as_json
def why(*, job_id: str, as_json: bool) -> None:
    """Say what keeps a job from running."""
    from worker.cli.job_view import why_page  # noqa: PLC0415  not for --help
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help

    response = call_api(lambda api: api.get("jobs", job_id, "why"))
    print_document(response.text, response.doc, why_page, as_json=as_json)


@jobs.command()
@job_ids
@click.option("--state", type=click.Choice(STATES), help="Their state.")
@scope_options
@batch_options
@note
@dry_run
@yes
def cancel(
    *, job_ids: tuple[str, ...], note: str, dry_run: bool, yes: bool, **filters: str | None
) -> None:
    """Cancel jobs, also at the provider: by id, or all that the options choose."""
    wanted = given_filters(**filters)
    if are_ids_given(job_ids, wanted):
        act_on_ids("jobs", job_ids, "cancel", {"note": note}, dry_run=dry_run)
    else:
        act_on_matching("cancel", wanted, note=note, dry_run=dry_run, assume_yes=yes)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@note
def park(*, job_ids: tuple[str, ...], note: str) -> None:
    """Park jobs: they wait until an operator releases them."""
    act_on_ids("jobs", job_ids, "park", {"note": note})


def list_jobs(filters: Mapping[str, str | int | None], *, as_json: bool) -> None:
    """Print a page of jobs."""
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help
    from worker.cli.tables import job_list  # noqa: PLC0415  not for --help

    response = call_api(lambda api: api.get("jobs", query=filters))
    print_document(response.text, response.doc, job_list, as_json=as_json)
