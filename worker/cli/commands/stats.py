"""`stats` and `watch`: counts, lanes, quota and workers, once or live."""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.exit_codes import CommandFailure, ExitCode
from worker.cli.options import as_json

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient


@click.command(short_help="Counts, lanes, quota and workers.")
@as_json
def stats(*, as_json: bool) -> None:
    """Show how many jobs are in each state, and the lanes, quota and workers."""
    show_document("tables:stats_tables", "stats", as_json=as_json)


@click.command(short_help="The stats live, until Ctrl-C.")
@click.option("--every", default=1.0, type=click.FloatRange(0.1), help="Seconds between updates.")
@click.option("--count", type=click.IntRange(1), help="End after this many updates.")
@as_json
def watch(*, every: float, count: int | None, as_json: bool) -> None:
    """Show the stats live until Ctrl-C; where output is piped, print a line for each change.

    With --json, print one document per line.
    """
    try:
        call_api(lambda api: _watch(api, every, count, as_json=as_json))
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.OK))  # Ctrl-C is the normal end of a watch


async def _watch(api: "ApiClient", every: float, count: int | None, *, as_json: bool) -> None:
    from worker.cli.live_stats import stats_view  # noqa: PLC0415  not for --help

    updates = 0
    with stats_view(as_json=as_json) as view:
        while True:
            try:
                response = await api.get("stats", timeout_s=10)
            except CommandFailure as failure:
                if updates == 0:  # the first call fails the command
                    raise
                view.show_error(failure.message)
            else:
                view.show_stats(response.text, response.doc)
            updates += 1
            if updates == count:
                return
            await asyncio.sleep(every)
