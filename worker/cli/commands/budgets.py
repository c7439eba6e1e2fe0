"""`budgets`: limits in credits for an account, route, target, tag or batch."""

import math
from typing import Final

import click

from jobs.texts import pluralize
from worker.cli.actions import confirm
from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.options import as_json, note, parse_with, yes
from worker.cli.text import Doc, command_line, sanitize

PERIODS: Final = ("day", "month", "total")
MAX_LIMIT: Final = 1e9


def _limit(text: str) -> float:
    """A limit in credits."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= MAX_LIMIT:
        raise ValueError(
            f"must be a number of credits more than 0 and at most {MAX_LIMIT:,.0f}, not {text!r}"
        )
    return found


@click.group(short_help="Limits in credits: list, set, remove.")
def budgets() -> None:
    """List, set and remove budgets: so many credits a day, a month or in total.

    A job is sent only if what it is expected to cost fits in every budget that applies to it. What
    does not fit waits, queued, for the next period or a higher limit.
    """


@budgets.command()
@as_json
def ls(*, as_json: bool) -> None:
    """List the budgets: what is used of each, when it resets, and what waits for it."""
    show_document("budget_tables:budget_list", "budgets", as_json=as_json, no_wrap=True)


@budgets.command("set")
@click.argument("name")
@click.option(
    "--scope",
    required=True,
    help="default, default/model, default/model/gpt-image-2, tag:NAME or batch:NAME.",
)
@click.option("--period", type=click.Choice(PERIODS), required=True, help="When it starts anew.")
@click.option(
    "--limit", metavar="CREDITS", required=True, callback=parse_with(_limit), help="The credits."
)
@click.option(
    "--time-zone",
    default="UTC",
    show_default=True,
    help="Where days and months begin at midnight, as Europe/Berlin.",
)
@note
@as_json
def set_budget(
    *, name: str, scope: str, period: str, limit: float, time_zone: str, note: str, as_json: bool
) -> None:
    """Set the budget NAME, or change it: 1 to 64 lowercase letters, digits, dots and hyphens.

    With another limit what is spent counts on. With another scope, period or time zone it starts
    with what is in flight.
    """
    body: Doc = {"scope": scope, "period": period, "limit": limit, "time_zone": time_zone}
    response = call_api(lambda api: api.put("budgets", name, body={**body, "note": note}))
    if as_json:
        click.echo(response.text)
        return
    from worker.cli.budget_tables import limit_text  # noqa: PLC0415  not for --help

    found = response.doc
    state = f"{found['state']}, {found['left']:,.10g} credits left"
    if found["state"] == "counting":
        state = "it admits jobs in some seconds, once a worker has counted what is in flight"
    click.echo(sanitize(f"{name}: {limit_text(found)} for {found['scope']}; {state}"))
    click.echo(f"see what is used of it: {command_line('budgets', 'ls')}")


@budgets.command()
@click.argument("name")
@note
@yes
def rm(*, name: str, note: str, yes: bool) -> None:
    """Remove the budget NAME: its scope is limited no more."""
    found = call_api(lambda api: api.get("budgets", name)).doc
    waiting = int(found["waiting"])
    jobs = f", and {pluralize(waiting, 'job')} that wait{'s' if waiting == 1 else ''} go on"
    question = f"Remove {name}? {found['scope'] or 'Every job'} is limited no more by it"
    confirm(sanitize(question + (jobs if waiting else "")), assume_yes=yes)
    call_api(lambda api: api.delete("budgets", name, body={"note": note}))
    click.echo(sanitize(f"{name}: removed"))
