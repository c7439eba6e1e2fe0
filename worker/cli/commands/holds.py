"""`holds`: closed gates, placed by a refusal or by an operator."""

import click

from worker.cli.actions import act_on_ids
from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.options import as_json, note
from worker.cli.text import command_line, sanitize


@click.group(short_help="Closed gates: list, set (pause), release.")
def holds() -> None:
    """List, set and release holds: the closed gates behind which jobs wait."""


@holds.command()
@as_json
def ls(*, as_json: bool) -> None:
    """List the gates that are closed or opening, and what to do about each."""
    show_document("tables:hold_list", "holds", as_json=as_json, no_wrap=True)


@holds.command("set")
@click.argument("scope")
@note
def set_hold(*, scope: str, note: str) -> None:
    """Pause SCOPE: default, default/model or default/model/gpt-image-2. Polling goes on."""
    hold = call_api(lambda api: api.post("holds", body={"scope": scope, "note": note})).doc
    resume = command_line("holds", "release", str(hold["id"]))
    click.echo(sanitize(f"{hold['scope']} is paused; resume it: {resume}"))


@holds.command()
@click.argument("hold_ids", nargs=-1, required=True, metavar="HOLD_ID...")
@note
def release(*, hold_ids: tuple[str, ...], note: str) -> None:
    """Release holds: their parked jobs return to the queue, one canary first."""
    act_on_ids("holds", hold_ids, "release", {"note": note})
