"""Three views of live stats: a table drawn in place, a line for each change, JSON lines."""

import sys
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Group
from rich.live import Live

from worker.cli.output import console, text
from worker.cli.tables import stats_tables
from worker.cli.text import Doc, sanitize


class StatsView(Protocol):
    """Shows the stats, one update after another."""

    def __enter__(self) -> Self:
        """Start showing."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; the last update stays on the screen."""
        ...

    def show_stats(self, raw: str, doc: Doc) -> None:
        """Show one update: `raw` is the JSON of `doc`."""
        ...

    def show_error(self, why: str) -> None:
        """Show why there is no update."""
        ...


class PlainLines:
    """Lines on stdout, errors on stderr."""

    def __enter__(self) -> Self:
        """Start showing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""

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
        """Print the states that have jobs."""
        del raw
        line = "  ".join(f"{name} {number}" for name, number in doc["states"].items() if number)
        if line != self._last:
            click.echo(sanitize(line) or "no jobs")
            sys.stdout.flush()
        self._last = line


class LiveTable:
    """The stats as a table, drawn in place at each update."""

    def __init__(self) -> None:
        self._live = Live(console=console(), auto_refresh=False)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        self._live.stop()

    def show_stats(self, raw: str, doc: Doc) -> None:
        """Draw the table."""
        del raw
        self._live.update(Group(*stats_tables(doc)), refresh=True)

    def show_error(self, why: str) -> None:
        """Draw the error in place of the table."""
        self._live.update(text(why, "yellow"), refresh=True)


def choose_view() -> StatsView:
    """A table on a terminal, else a line for each change."""
    return LiveTable() if sys.stdout.isatty() else ChangeLines()
