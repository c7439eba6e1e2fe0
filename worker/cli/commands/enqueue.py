"""`enqueue`: one job, and with `--wait` its result."""

from typing import TYPE_CHECKING, Any, Final

import click

from jobs.states import SETTLED_OR_PARKED
from worker.cli.client_session import STATUS_ENQUEUED, call_api
from worker.cli.exit_codes import CommandExit, ExitCode
from worker.cli.inputs import SOURCES, read_object
from worker.cli.moments import parse_future, parse_start_by
from worker.cli.options import KINDS, as_json, parse_with
from worker.cli.text import Doc, command_line, parse_duration, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse

LONG_POLL_S: Final = 30
"""Of one long poll; the API allows 120."""


UNCONFIRMED: Final = (
    " (unconfirmed: too few replicas have it yet; the same call with its --id asks anew)"
)


@click.command(short_help="Enqueue one job; --wait for its result.")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("target")
@click.option(
    "--inputs", metavar=SOURCES, callback=parse_with(read_object), required=True, help="The inputs."
)
@click.option("--id", "job_id", help="An id of your own: the same id never makes a second job.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher goes first.")
@click.option("--tag", "tags", multiple=True, help="Repeatable.")
@click.option("--batch", help="Name of its batch.")
@click.option("--fair-key", help="A tenant or user: in a lane, keys take turns.")
@click.option("--after", multiple=True, metavar="JOB", help="A job to wait for; repeatable.")
@click.option(
    "--run-at",
    metavar="WHEN",
    callback=parse_with(parse_future),
    help="Run at or after this time, as 2026-01-31T18:00.",
)
@click.option(
    "--delay",
    "delay_s",
    metavar="TIME",
    callback=parse_with(parse_duration),
    help="Run after this delay, as 90 or 15m.",
)
@click.option(
    "--start-by",
    metavar="WHEN",
    callback=parse_with(parse_start_by),
    help="Cancel it unless it is sent by then: a time, or 30m from now.",
)
@click.option("--max-attempts", type=click.IntRange(1), help="Attempts before it is dead.")
@click.option(
    "--deadline",
    "deadline_s",
    metavar="TIME",
    callback=parse_with(parse_duration),
    help="Longest run; then it parks as stuck.",
)
@click.option(
    "--on-uncertain",
    type=click.Choice(["park", "reconcile", "retry"]),
    help="If the outcome of a submit is unknown; retry may pay twice.",
)
@click.option("--callback-url", help="Who hears how it ends; its host must be allowed.")
@click.option(
    "--metadata",
    metavar=SOURCES,
    callback=parse_with(read_object),
    help="Facts of your own, shown with it.",
)
@click.option("--account", help="Account label.")
@click.option("--dry-run", is_flag=True, help="Only show its estimated credits, and warnings.")
@click.option("--wait", is_flag=True, help="Wait until it is settled or parked.")
@as_json
def enqueue(*, as_json: bool, wait: bool, dry_run: bool, job_id: str | None, **fields: Any) -> None:
    """Enqueue one job: a run of the model or workflow TARGET.

    \b
    knouds-worker enqueue model gpt-image-2 --inputs '{"prompt": "a cat"}' --wait
    """  # noqa: D301  \b tells click to keep the line breaks
    if fields["run_at"] is not None and fields["delay_s"] is not None:
        raise click.UsageError("give --run-at or --delay, not both")
    if dry_run and wait:
        raise click.UsageError("give --dry-run or --wait, not both")
    given = {name: value for name, value in fields.items() if value not in (None, ())}
    if dry_run:
        call_api(lambda api: _preview(api, given, as_json=as_json))
        return
    call_api(lambda api: _enqueue(api, given, job_id, wait=wait, as_json=as_json))


async def _preview(api: "ApiClient", fields: Doc, *, as_json: bool) -> None:
    response = await api.post_idempotent("jobs", "dry-run", body=fields)
    if as_json:
        click.echo(response.text)
        return
    doc = response.doc
    est_cost = doc["est_cost"]
    cost = "cost unknown" if est_cost is None else f"about {est_cost:g} credits"
    click.echo(f"would enqueue {doc['account']}/{doc['kind']}/{doc['target']}: {cost}")
    _show_warnings(doc)


def _show_warnings(doc: Doc) -> None:
    """Warnings go to standard error, so that scripts can read the rest."""
    for one in doc.get("warnings", ()):
        click.echo(sanitize(f"warning: {one['message']}"), err=True)


async def _enqueue(
    api: "ApiClient", fields: Doc, job_id: str | None, *, wait: bool, as_json: bool
) -> None:
    from worker.clock import SystemClock  # noqa: PLC0415  not for --help

    # A request with an id can be sent again when its response was lost.
    request = {"id": job_id or SystemClock().new_id(), **fields}
    response = await api.post_idempotent("jobs", body=request)
    _show_warnings(response.doc)
    if wait:
        click.echo(_summary(response), err=True)
        response = await _wait_until_stopped(api, str(response.doc["id"]))
    if as_json:
        click.echo(response.text)
    elif wait:
        from worker.cli.job_view import job_page  # noqa: PLC0415  not for --help
        from worker.cli.output import show  # noqa: PLC0415  not for --help

        show(*job_page(response.doc))
    else:
        click.echo(_summary(response))
    if wait and response.doc["state"] != "succeeded":
        raise CommandExit(ExitCode.NOT_SUCCEEDED)


def _summary(response: "ApiResponse") -> str:
    known = "" if response.status == STATUS_ENQUEUED else " (it was enqueued before)"
    summary = f"{response.doc['id']}: {response.doc['state']}{known}"
    if response.doc.get("durability") == "unconfirmed":
        summary += UNCONFIRMED
    if hold := response.doc.get("held_by"):
        summary += f", behind the hold {hold['hold_id']} on {hold['scope']} ({hold['code']})"
        summary += f": {hold['action']}" if hold["action"] else ""
    return sanitize(summary)


async def _wait_until_stopped(api: "ApiClient", job_id: str) -> "ApiResponse":
    while True:
        try:
            response = await api.get(
                "jobs", job_id, "wait", query={"timeout_s": LONG_POLL_S}, timeout_s=LONG_POLL_S + 15
            )
        except BaseException:
            click.echo(f"the job continues: {command_line('jobs', 'get', job_id)}", err=True)
            raise
        if response.doc["state"] in SETTLED_OR_PARKED:
            return response
