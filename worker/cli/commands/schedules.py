"""`schedules`: jobs that are enqueued at each tick of a cron line."""

from typing import TYPE_CHECKING, Any, Final

import click

from jobs.texts import pluralize
from worker.cli.actions import confirm
from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.inputs import SOURCES, read_object
from worker.cli.options import as_json, note, parse_with, yes
from worker.cli.text import Doc, command_line, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiResponse

_name: Final = click.argument("name")


@click.group(short_help="Recurring jobs: list, show, set, run, enable, disable, remove.")
def schedules() -> None:
    """List, show, set, run, enable, disable and remove schedules.

    A schedule enqueues a job at each tick of a cron line, in a time zone, once over all workers.
    """


@schedules.command()
@as_json
def ls(*, as_json: bool) -> None:
    """List the schedules: the line of each, its next tick and its last run."""
    show_document("schedule_tables:schedule_list", "schedules", as_json=as_json, no_wrap=True)


@schedules.command()
@_name
@as_json
def show(*, name: str, as_json: bool) -> None:
    """Show the schedule NAME: next ticks, last runs, and what keeps it from running."""
    view = "schedule_tables:schedule_page"
    show_document(view, "schedules", name, as_json=as_json, no_wrap=True)


@schedules.command("set")
@_name
@click.option(
    "--cron", metavar="LINE", required=True, help="Five fields, as '0 3 * * *': 03:00 each day."
)
@click.option(
    "--job",
    metavar=SOURCES,
    callback=parse_with(read_object),
    required=True,
    help="A job request, as POST /v1/jobs takes it: kind, target, inputs …",
)
@click.option(
    "--time-zone",
    default="UTC",
    show_default=True,
    help="Where the line is local time, as Europe/Berlin.",
)
@click.option(
    "--overlap",
    type=click.Choice(["skip", "enqueue"]),
    default="skip",
    show_default=True,
    help="At a tick, while an earlier run is not finished.",
)
@click.option(
    "--catch-up",
    type=click.Choice(["none", "last", "all"]),
    default="last",
    show_default=True,
    help="Which ticks run late that no worker saw in time.",
)
@click.option("--disabled", is_flag=True, help="Set it, and enqueue nothing until it is enabled.")
@note
@as_json
def set_schedule(*, name: str, disabled: bool, as_json: bool, **fields: Any) -> None:
    """Set the schedule NAME, or change it.

    \b
    knouds-worker schedules set nightly --cron '0 3 * * *' --time-zone Europe/Berlin \\
      --job '{"kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "a cat"}}'

    With another line or time zone it begins now; else its ticks go on.
    """  # noqa: D301  \b tells click to keep the line breaks
    body: Doc = {**fields, "enabled": not disabled}
    response = call_api(lambda api: api.put("schedules", name, body=body))
    for one in response.doc.get("warnings", ()):
        click.echo(sanitize(f"warning: {one['message']}"), err=True)
    _show_state(response, as_json=as_json)


@schedules.command()
@_name
@note
@as_json
def run(*, name: str, note: str, as_json: bool) -> None:
    """Enqueue the job of the schedule NAME now, even if it is disabled or one runs."""
    response = call_api(lambda api: api.post("schedules", name, "run", body={"note": note}))
    if as_json:
        click.echo(response.text)
        return
    job_id = str(response.doc["id"])
    click.echo(sanitize(f"{job_id}: {response.doc['state']}"))
    click.echo(f"see what becomes of it: {command_line('jobs', 'get', job_id)}")


@schedules.command()
@_name
@note
@as_json
def enable(*, name: str, note: str, as_json: bool) -> None:
    """Let the schedule NAME enqueue jobs, from now on: missed ticks are not made up for."""
    _switch(name, "enable", note, as_json=as_json)


@schedules.command()
@_name
@note
@as_json
def disable(*, name: str, note: str, as_json: bool) -> None:
    """Let the schedule NAME enqueue nothing until it is enabled."""
    _switch(name, "disable", note, as_json=as_json)


@schedules.command()
@_name
@note
@yes
def rm(*, name: str, note: str, yes: bool) -> None:
    """Remove the schedule NAME: the jobs that it has enqueued go on."""
    found = call_api(lambda api: api.get("schedules", name)).doc
    running = sum(one["kind"] == "overlap" for one in found["why"])
    going_on = f"; {pluralize(running, 'run')} that is not finished goes on" if running else ""
    line = found["cron"] or "it cannot be read"
    confirm(sanitize(f"Remove {name} ({line})?{going_on}"), assume_yes=yes)
    call_api(lambda api: api.delete("schedules", name, body={"note": note}))
    click.echo(sanitize(f"{name}: removed"))


def _switch(name: str, action: str, note: str, *, as_json: bool) -> None:
    response = call_api(lambda api: api.post("schedules", name, action, body={"note": note}))
    _show_state(response, as_json=as_json)


def _show_state(response: "ApiResponse", *, as_json: bool) -> None:
    """What a schedule does from now on."""
    if as_json:
        click.echo(response.text)
        return
    from worker.cli.schedule_tables import local_time  # noqa: PLC0415  not for --help

    found = response.doc
    name, ticks = str(found["name"]), found["next_ticks"]
    state = f"next tick {local_time(ticks[0], found['time_zone'])}" if ticks else "disabled"
    click.echo(sanitize(f"{name}: {found['cron']} ({found['time_zone']}), {state}"))
    click.echo(f"see what it does: {command_line('schedules', 'show', name)}")
