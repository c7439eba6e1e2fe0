"""`holds`: closed gates, put up by a refusal or by a person."""

from typing import TYPE_CHECKING

import click

from worker.cli.actions import act_on_each
from worker.cli.client_session import call_api
from worker.cli.exit_codes import exit_with_first_failure
from worker.cli.options import as_json, note
from worker.cli.text import command_line, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient


@click.group(short_help="Closed gates: list, set (pause), release.")
def holds() -> None:
    """List, set and release the gates behind which jobs wait."""


@holds.command()
@as_json
def ls(*, as_json: bool) -> None:
    """List the gates that are closed or opening, and what to do about each."""
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help
    from worker.cli.tables import hold_list  # noqa: PLC0415  not for --help

    answer = call_api(lambda api: api.get("holds"))
    print_document(answer.text, answer.doc, hold_list, as_json=as_json, no_wrap=True)


@holds.command("set")
@click.argument("scope")
@note
def set_hold(*, scope: str, note: str) -> None:
    """Pause SCOPE: default, default/model or default/model/gpt-image-2. Polling goes on."""
    answer = call_api(lambda api: api.post("holds", body={"scope": scope, "note": note}))
    hold = answer.doc
    free = command_line("holds", "release", str(hold["id"]))
    click.echo(sanitize(f"{hold['scope']} is paused; resume it: {free}"))


@holds.command()
@click.argument("hold_ids", nargs=-1, required=True, metavar="HOLD_ID...")
@note
def release(*, hold_ids: tuple[str, ...], note: str) -> None:
    """Open gates: what they parked goes back in line, one canary first."""

    async def run(api: "ApiClient") -> None:
        exit_with_first_failure(
            await act_on_each(api, "holds", hold_ids, "release", {"note": note})
        )

    call_api(run)
