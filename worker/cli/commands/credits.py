"""`credits`: what runs cost, and whether the provider says the same."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from worker.cli.client_session import call_api, read_settings
from worker.cli.documents import show_document
from worker.cli.exit_codes import CommandExit, CommandFailure, ExitCode
from worker.cli.options import as_json, note, parse_with, past_option
from worker.cli.redis_store import with_store
from worker.cli.text import parse_moment, parse_time, sanitize

if TYPE_CHECKING:
    from jobs.credits.reconcile import Difference, Reconciliation
    from worker.store import Store

BY: Final = ("day", "account", "target", "tag", "batch")
DEFAULT_PERIOD: Final = timedelta(days=1)
MAX_LINES: Final = 50
"""Differences that are printed; `--json` has all."""


def _day(text: str) -> str:
    """A day of UTC: as given, or of a time, or of a duration ago."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return parse_moment(text, time.time())[:10]


@click.group(
    invoke_without_command=True, short_help="What runs cost: by day, account, target, tag or batch."
)
@click.option("--by", type=click.Choice(BY), default="day", show_default=True, help="The rows.")
@click.option(
    "--since",
    metavar="DAY",
    callback=parse_with(_day),
    help="The first day (UTC), as 2026-11-01, or 30d for 30 days ago. By default 29 days before"
    " the last.",
)
@click.option(
    "--until", metavar="DAY", callback=parse_with(_day), help="The last day. By default today."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, without the total.")
@as_json
@click.pass_context
def credits(  # noqa: A001  the command's name
    ctx: click.Context,
    *,
    by: str,
    since: str | None,
    until: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show what runs cost: by day, account, target, tag or batch.

    A charge belongs to the day (UTC) on which its attempt ended. Estimates are corrected once the
    provider's list of runs tells what a run cost. Tags overlap.
    """
    if ctx.invoked_subcommand is not None:
        return
    query: dict[str, str | int | None] = {"by": by, "since": since, "until": until}
    if as_csv:
        response = call_api(lambda api: api.get("credits.csv", query=query))
        click.echo("\n".join(sanitize(line) for line in response.text.splitlines()))
        return
    show_document("tables:credit_list", "credits", query=query, as_json=as_json)


@credits.command()
@as_json
def forecast(*, as_json: bool) -> None:
    """Show what queued jobs will cost, and when an account or a budget is used up.

    The pace is that of the last hour. What an account has left is known where a balance was
    entered.
    """
    show_document("tables:forecast_list", "credits", "forecast", as_json=as_json)


@credits.command("set-balance")
@click.argument("amount", type=click.FloatRange(0, 1e9))
@click.option("--account", default="default", show_default=True, help="Whose balance it is.")
@note
@as_json
def set_balance(*, amount: float, account: str, note: str, as_json: bool) -> None:
    """Enter the balance that the provider's billing page shows: it has no API for it.

    From then on the ledger carries it on, as an estimate. Enter it anew after a top-up.
    """
    body = {"account": account, "credits": amount, "note": note}
    response = call_api(lambda api: api.post("credits", "balance", body=body))
    if as_json:
        click.echo(response.text)
        return
    left = response.doc["left"]
    click.echo(f"{sanitize(account)}: {left:,.10g} credits, carried on by the ledger from now")


@credits.command()
@click.option("--account", default="default", show_default=True, help="Whose list is read.")
@past_option("--since", "Since this time, or since 2h ago as 2h. By default since a day ago.")
@as_json
def reconcile(*, account: str, since: str | None, as_json: bool) -> None:
    """Compare what is on record with the provider's list of runs, and name each difference.

    It reads the list with the API key of the settings, and Redis itself. The exit code is 1 where
    something differs. A foreign row is a run that is not on record: of another program, or of a
    job that was deleted.
    """
    settings = read_settings()
    if account not in settings.accounts:
        known = ", ".join(sorted(settings.accounts)) or "none"
        raise CommandFailure(f"--account {account}: has no API key here; there are: {known}")
    moment = parse_time(since) if since else None
    begin = (datetime.now(UTC) - DEFAULT_PERIOD).timestamp() if moment is None else moment

    async def run(store: "Store") -> "Reconciliation":
        from worker.app.reconciling import ListNotRead, Reconciler  # noqa: PLC0415  not for --help
        from worker.clock import SystemClock  # noqa: PLC0415  not for --help
        from worker.compose.provider import build_provider  # noqa: PLC0415  not for --help

        provider = build_provider(settings)
        grace_s = settings.evidence_grace_s
        work = Reconciler(store, provider, SystemClock(), settings.base_url, grace_s)
        try:
            return await work.reconcile(account, tuple(settings.accounts), begin)
        except ListNotRead as error:
            raise CommandFailure(str(error)) from None
        finally:
            await provider.close()

    found = with_store(settings, run)
    click.echo(json.dumps(_document(found)) if as_json else "\n".join(_lines(found)))
    if found.differences or found.is_ambiguous:
        raise CommandExit(ExitCode.FAILED)


def _document(found: "Reconciliation") -> dict[str, object]:
    differences = [one._asdict() for one in found.differences]
    return {**found._asdict(), "differences": differences}


def _lines(found: "Reconciliation") -> list[str]:
    lines = [
        f"on record: {found.runs} runs, {found.ours:,.10g} credits",
        f"provider:  {found.rows} rows, {found.theirs:,.10g} credits",
    ]
    if found.is_ambiguous:
        lines.append("too many runs without a request id: these were not compared; use --since")
    lines += [sanitize(_line(one)) for one in found.differences[:MAX_LINES]]
    if len(found.differences) > MAX_LINES:
        lines.append(f"and {len(found.differences) - MAX_LINES} more: use --json")
    return lines if found.differences else [*lines, "no difference"]


def _line(one: "Difference") -> str:
    ours = "no cost" if one.ours is None else f"{one.ours:,.10g}"
    theirs = "no row" if one.theirs is None and one.row is None else f"{one.theirs or 0:,.10g}"
    run = f"job {one.job_id}, attempt {one.attempt}" if one.job_id else "no job"
    row = "" if one.row is None else f", row {one.row}"
    request = f", request {one.request_id}" if one.request_id else ""
    return f"{one.kind:13} {one.target}: on record {ours}, provider {theirs} ({run}{row}{request})"
