"""`jobs`: list, show, explain, cancel and park."""

from typing import TYPE_CHECKING, Any

import click

from worker.cli.actions import act_on_all, act_on_each, choose
from worker.cli.client_session import talk
from worker.cli.exit_codes import end_with_worst
from worker.cli.next_steps import UNCERTAIN
from worker.cli.options import (
    STATES,
    as_json,
    dry_run,
    given,
    job_ids,
    marks,
    note,
    page,
    scope,
    yes,
)

if TYPE_CHECKING:
    from worker.cli.api_client import Answer, Api


@click.group(short_help="List, show, explain, cancel and park jobs.")
def jobs() -> None:
    """List, show, explain, cancel and park jobs."""


@jobs.command()
@click.option("--state", type=click.Choice(STATES), help="Where they stand.")
@scope
@marks
@page
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
    from worker.cli.output import emit  # noqa: PLC0415  not for --help

    answer, evidence = talk(lambda api: _with_evidence(api, job_id, wanted=not as_json))
    emit(answer.text, answer.doc, lambda doc: job_page(doc, evidence), as_json=as_json)


async def _with_evidence(api: "Api", job_id: str, *, wanted: bool) -> "tuple[Answer, Any]":
    """A job, and what is known of its submit where it is uncertain."""
    answer = await api.get("jobs", job_id)
    reason: dict[str, Any] = answer.doc.get("reason") or {}
    if not wanted or answer.doc.get("state") != "parked" or reason.get("code") != UNCERTAIN:
        return answer, None
    return answer, (await api.get("jobs", job_id, "why")).doc.get("evidence")


@jobs.command()
@click.argument("job_id")
@as_json
def why(*, job_id: str, as_json: bool) -> None:
    """Say what keeps a job from running."""
    from worker.cli.job_view import why_page  # noqa: PLC0415  not for --help
    from worker.cli.output import emit  # noqa: PLC0415  not for --help

    answer = talk(lambda api: api.get("jobs", job_id, "why"))
    emit(answer.text, answer.doc, why_page, as_json=as_json)


@jobs.command()
@job_ids
@click.option("--state", type=click.Choice(STATES), help="Where they stand.")
@scope
@marks
@note
@dry_run
@yes
def cancel(
    *, job_ids: tuple[str, ...], note: str, dry_run: bool, yes: bool, **filters: str | None
) -> None:
    """Cancel jobs, here or at the provider: by id, or all that the options choose."""
    wanted = given(**filters)
    if choose(job_ids, wanted):
        _each(job_ids, "cancel", note, dry=dry_run)
        return
    talk(lambda api: act_on_all(api, "cancel", wanted, extra={}, note=note, dry=dry_run, sure=yes))


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@note
def park(*, job_ids: tuple[str, ...], note: str) -> None:
    """Make jobs wait until a person releases them."""
    _each(job_ids, "park", note, dry=False)


def list_jobs(filters: dict[str, Any], *, as_json: bool) -> None:
    """Print a page of jobs."""
    from worker.cli.output import emit  # noqa: PLC0415  not for --help
    from worker.cli.tables import job_list  # noqa: PLC0415  not for --help

    answer = talk(lambda api: api.get("jobs", query=filters))
    emit(answer.text, answer.doc, job_list, as_json=as_json)


def _each(names: tuple[str, ...], act: str, note: str, *, dry: bool) -> None:
    async def run(api: "Api") -> None:
        end_with_worst(await act_on_each(api, "jobs", names, act, {"note": note}, dry=dry))

    talk(run)
