"""`enqueue`: one job, and with `--wait` what becomes of it."""

import time
from typing import TYPE_CHECKING, Any, Final

import click

from worker.cli.client_session import call_api
from worker.cli.exit_codes import CommandExit, ExitCode
from worker.cli.inputs import SOURCES, read_object
from worker.cli.options import KINDS, as_json, parse_with
from worker.cli.text import command_line, parse_duration, parse_moment, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse

STOPPED_STATES: Final = frozenset({"succeeded", "dead", "cancelled", "parked"})
LONG_POLL_S: Final = 30
"""Of one long poll; the API allows 120."""

STATUS_ENQUEUED: Final = 202
"""Status of an order that made a job; 200 says that the same order came before."""


def parse_future(text: str) -> str:
    """A time to come as RFC 3339; local where it names no zone."""
    if text[-1:] in tuple("smhd") or text.isdigit():
        raise ValueError(f"{text!r} is a length of time: --delay takes it")
    return parse_moment(text, time.time())


@click.command(short_help="Enqueue one job; --wait for its result.")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("target")
@click.option(
    "--inputs", metavar=SOURCES, callback=parse_with(read_object), required=True, help="The inputs."
)
@click.option("--id", "job_id", help="A name of your own: the same id never makes a second job.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher goes first.")
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
@click.option("--batch", help="Name of a batch it belongs to.")
@click.option(
    "--run-at",
    metavar="WHEN",
    callback=parse_with(parse_future),
    help="Not before then, as 2026-01-31T18:00.",
)
@click.option(
    "--delay",
    "delay_s",
    metavar="TIME",
    callback=parse_with(parse_duration),
    help="Not before then, as 90 or 15m.",
)
@click.option("--max-attempts", type=click.IntRange(1), help="Attempts until it is dead.")
@click.option(
    "--deadline",
    "deadline_s",
    metavar="TIME",
    callback=parse_with(parse_duration),
    help="Longest run, then it is stuck.",
)
@click.option(
    "--on-uncertain",
    type=click.Choice(["park", "retry"]),
    help="When nobody knows whether it ran; retry may pay twice.",
)
@click.option("--account", help="Account label.")
@click.option("--wait", is_flag=True, help="Wait until it is settled or parked.")
@as_json
def enqueue(*, as_json: bool, wait: bool, job_id: str | None, **fields: Any) -> None:
    """Enqueue one job: a run of the model or workflow TARGET.

    \b
    knouds-worker enqueue model gpt-image-2 --inputs '{"prompt": "a cat"}' --wait
    """  # noqa: D301  \b is click's mark for lines to be kept
    if fields["run_at"] is not None and fields["delay_s"] is not None:
        raise click.UsageError("give --run-at or --delay, not both")
    order = {name: value for name, value in fields.items() if value not in (None, ())}
    call_api(lambda api: _enqueue(api, order, job_id, wait=wait, as_json=as_json))


async def _enqueue(
    api: "ApiClient", request: dict[str, Any], job_id: str | None, *, wait: bool, as_json: bool
) -> None:
    from worker.clock import SystemClock  # noqa: PLC0415  not for --help

    # With an id of its own an order may be sent again when its answer was lost.
    request = {"id": job_id or SystemClock().new_id(), **request}
    answer = await api.post_idempotent("jobs", body=request)
    if wait:
        click.echo(_summary(answer), err=True)
        answer = await _wait_until_stopped(api, str(answer.doc["id"]))
    if as_json:
        click.echo(answer.text)
    elif wait:
        _show_job(answer)
    else:
        click.echo(_summary(answer))
    if wait and answer.doc["state"] != "succeeded":
        raise CommandExit(ExitCode.NOT_SUCCEEDED)


def _summary(answer: "ApiResponse") -> str:
    known = "" if answer.status == STATUS_ENQUEUED else " (it was enqueued before)"
    told = f"{answer.doc['id']}: {answer.doc['state']}{known}"
    if held := answer.doc.get("held_by"):
        told += f", behind the hold {held['hold_id']} on {held['scope']} ({held['code']})"
        told += f": {held['action']}" if held["action"] else ""
    return sanitize(told)


def _show_job(answer: "ApiResponse") -> None:
    from worker.cli.job_view import job_page  # noqa: PLC0415  not for --help
    from worker.cli.output import show  # noqa: PLC0415  not for --help

    show(*job_page(answer.doc))


async def _wait_until_stopped(api: "ApiClient", job_id: str) -> "ApiResponse":
    while True:
        try:
            answer = await api.get(
                "jobs", job_id, "wait", query={"timeout_s": LONG_POLL_S}, timeout_s=LONG_POLL_S + 15
            )
        except BaseException:
            click.echo(f"the job goes on: {command_line('jobs', 'get', job_id)}", err=True)
            raise
        if answer.doc["state"] in STOPPED_STATES:
            return answer
