"""Three ways to show a series of stats: redrawn in place, a line for each change, JSON lines."""

import sys
from types import TracebackType
from typing import Any, Protocol, Self

import click
from rich.console import Group
from rich.live import Live

from worker.cli.output import console, text
from worker.cli.tables import stats_tables
from worker.cli.text import sanitize

Doc = dict[str, Any]


class StatsView(Protocol):
    """Something that shows one look after the other."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, and leave the last look standing."""
        ...

    def show_stats(self, raw: str, doc: Doc) -> None:
        """Show a look."""
        ...

    def show_error(self, why: str) -> None:
        """Say that there was nothing to see."""
        ...


class PlainLines:
    """A screen that needs no setting up."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""

    def show_error(self, why: str) -> None:
        """Say so on stderr."""
        click.echo(sanitize(why), err=True)


class JsonLines(PlainLines):
    """One document a line."""

    def show_stats(self, raw: str, doc: Doc) -> None:
        """Print it as the API sent it, which is one line."""
        del doc
        click.echo(" ".join(raw.splitlines()))
        sys.stdout.flush()


class ChangeLines(PlainLines):
    """A line of counts whenever they change."""

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
    """The stats in place, redrawn at each look."""

    def __init__(self) -> None:
        self._live = Live(console=console(), auto_refresh=False)

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        self._live.stop()

    def show_stats(self, raw: str, doc: Doc) -> None:
        """Draw it."""
        del raw
        self._live.update(Group(*stats_tables(doc)), refresh=True)

    def show_error(self, why: str) -> None:
        """Put it in place of what was there."""
        self._live.update(text(why, "yellow"), refresh=True)


def choose_view() -> StatsView:
    """Redraw on a terminal, else print changes."""
    return LiveTable() if sys.stdout.isatty() else ChangeLines()
