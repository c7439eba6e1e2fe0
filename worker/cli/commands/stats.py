"""`stats` and `watch`: how everything stands, once or live."""

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from worker.cli.client_session import call_api
from worker.cli.exit_codes import CommandFailure, ExitCode
from worker.cli.options import as_json

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient


@click.command(short_help="Counts, lanes, quota and workers.")
@as_json
def stats(*, as_json: bool) -> None:
    """Show how many jobs are in each state, and how lanes, quota and workers stand."""
    from worker.cli import tables  # noqa: PLC0415  not for --help
    from worker.cli.output import print_document  # noqa: PLC0415  not for --help

    answer = call_api(lambda api: api.get("stats"))
    print_document(answer.text, answer.doc, tables.stats_tables, as_json=as_json)


@click.command(short_help="The same, live, until Ctrl-C.")
@click.option("--every", default=1.0, type=click.FloatRange(0.1), help="Seconds between looks.")
@click.option("--count", type=click.IntRange(1), help="End after so many looks.")
@as_json
def watch(*, every: float, count: int | None, as_json: bool) -> None:
    """Show the stats live until Ctrl-C; where output is piped, a line for each change.

    With --json, one document a line.
    """
    try:
        call_api(lambda api: _watch(api, every, count, as_json=as_json))
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.OK))  # it is how a watch ends


async def _watch(api: "ApiClient", every: float, count: int | None, *, as_json: bool) -> None:
    from worker.cli.live_stats import JsonLines, choose_view  # noqa: PLC0415  not for --help

    looks = 0
    with JsonLines() if as_json else choose_view() as screen:
        while True:
            try:
                answer = await api.get("stats", timeout_s=10)
            except CommandFailure as failure:
                if looks == 0:  # there never was anything to watch
                    raise
                screen.show_error(failure.message)
            else:
                doc: dict[str, Any] = answer.doc
                screen.show_stats(answer.text, doc)
            looks += 1
            if looks == count:
                return
            await asyncio.sleep(every)
