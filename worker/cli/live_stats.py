"""Three views of live stats: a table drawn in place, a line for each change, JSON lines."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

import click
from rich.console import Group
from rich.live import Live

from worker.cli.output import console, text
from worker.cli.tables import stats_tables
from worker.cli.text import Doc, redis_lines, sanitize


class PlainLines:
    """Lines on stdout, errors on stderr."""

    def show_error(self, why: str) -> None:
        """Print it on stderr."""
        click.echo(sanitize(why), err=True)


class JsonLines(PlainLines):
    """One JSON document per line."""

    def show_stats(self, raw: str, doc: Doc) -> None:
        """Print the document as the API sent it."""
        del doc
        click.echo(" ".join(raw.splitlines()))
        sys.stdout.flush()


class ChangeLines(PlainLines):
    """A line of counts when they change."""

    def __init__(self) -> None:
        self._last = ""

    def show_stats(self, raw: str, doc: Doc) -> None:
        """Print the states that have jobs, after what Redis refuses."""
        del raw
        counts = "  ".join(f"{name} {number}" for name, number in doc["states"].items() if number)
        line = "\n".join((*redis_lines(doc), counts or "no jobs"))
        if line != self._last:
            click.echo("\n".join(map(sanitize, line.split("\n"))))
            sys.stdout.flush()
        self._last = line


class LiveTable:
    """The stats as a table, drawn in place at each update."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show_stats(self, raw: str, doc: Doc) -> None:
        """Draw the table."""
        del raw
        self._live.update(Group(*stats_tables(doc)), refresh=True)

    def show_error(self, why: str) -> None:
        """Draw the error in place of the table."""
        self._live.update(text(why, "yellow"), refresh=True)


@contextmanager
def stats_view(*, as_json: bool) -> Generator[JsonLines | ChangeLines | LiveTable]:
    """Yield JSON lines, else a table on a terminal, else a line for each change."""
    if as_json:
        yield JsonLines()
    elif not sys.stdout.isatty():
        yield ChangeLines()
    else:
        with Live(console=console(), auto_refresh=False) as live:
            yield LiveTable(live)
