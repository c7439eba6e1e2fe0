"""`jobs`: list, show, explain, cancel and park."""

from typing import TYPE_CHECKING, Any

import click

from worker.cli.actions import act_on_all, act_on_each, are_ids_given
from worker.cli.client_session import call_api
from worker.cli.exit_codes import exit_with_first_failure
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

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse


@click.group(short_help="List, show, explain, cancel and park jobs.")
def jobs() -> None:
    """List, show, explain, cancel and park jobs."""


@jobs.command()
@click.option("--state", type=click.Choice(STATES), help="Where they stand.")
@scope_options
@batch_options
@page_options
@as_json
def ls(*, as_json: bool, **filters: Any) -> None:
    """List jobs, newest first."""
    list_jobs(filters, as_json=as_json)


@jobs.command()
@click.argument("job_id")
@as_json
def get(*, job_id: str, as_json: bool) -> None:
    """Show a job: its road, its attempts, why it stopped and the command that frees it."""
    from worker.cli.job_view import job_page  # noqa: PLC0415  not for --help
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help

    answer, evidence = call_api(
        lambda api: _get_with_evidence(api, job_id, include_evidence=not as_json)
    )
    print_document(answer.text, answer.doc, lambda doc: job_page(doc, evidence), as_json=as_json)


async def _get_with_evidence(
    api: "ApiClient", job_id: str, *, include_evidence: bool
) -> "tuple[ApiResponse, Any]":
    """A job, and what is known of its submit where it is uncertain."""
    answer = await api.get("jobs", job_id)
    reason: dict[str, Any] = answer.doc.get("reason") or {}
    if (
        not include_evidence
        or answer.doc.get("state") != "parked"
        or reason.get("code") != UNCERTAIN
    ):
        return answer, None
    return answer, (await api.get("jobs", job_id, "why")).doc.get("evidence")


@jobs.command()
@click.argument("job_id")
@as_json
def why(*, job_id: str, as_json: bool) -> None:
    """Say what keeps a job from running."""
    from worker.cli.job_view import why_page  # noqa: PLC0415  not for --help
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help

    answer = call_api(lambda api: api.get("jobs", job_id, "why"))
    print_document(answer.text, answer.doc, why_page, as_json=as_json)


@jobs.command()
@job_ids
@click.option("--state", type=click.Choice(STATES), help="Where they stand.")
@scope_options
@batch_options
@note
@dry_run
@yes
def cancel(
    *, job_ids: tuple[str, ...], note: str, dry_run: bool, yes: bool, **filters: str | None
) -> None:
    """Cancel jobs, here or at the provider: by id, or all that the options choose."""
    wanted = given_filters(**filters)
    if are_ids_given(job_ids, wanted):
        _act_on_ids(job_ids, "cancel", note, dry_run=dry_run)
        return
    call_api(
        lambda api: act_on_all(
            api, "cancel", wanted, extra={}, note=note, dry_run=dry_run, assume_yes=yes
        )
    )


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@note
def park(*, job_ids: tuple[str, ...], note: str) -> None:
    """Make jobs wait until a person releases them."""
    _act_on_ids(job_ids, "park", note, dry_run=False)


def list_jobs(filters: dict[str, Any], *, as_json: bool) -> None:
    """Print a page of jobs."""
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help
    from worker.cli.tables import job_list  # noqa: PLC0415  not for --help

    answer = call_api(lambda api: api.get("jobs", query=filters))
    print_document(answer.text, answer.doc, job_list, as_json=as_json)


def _act_on_ids(ids: tuple[str, ...], action: str, note: str, *, dry_run: bool) -> None:
    async def run(api: "ApiClient") -> None:
        exit_with_first_failure(
            await act_on_each(api, "jobs", ids, action, {"note": note}, dry_run=dry_run)
        )

    call_api(run)
