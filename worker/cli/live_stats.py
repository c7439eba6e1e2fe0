"""Three ways to show a series of stats: redrawn in place, a line for each change, JSON lines."""

import sys
from types import TracebackType
from typing import Any, Protocol, Self

import click
from rich.console import Group
from rich.live import Live

from worker.cli.output import console, text
from worker.cli.tables import stats
from worker.cli.text import clean

Doc = dict[str, Any]


class Screen(Protocol):
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

    def saw(self, raw: str, doc: Doc) -> None:
        """Show a look."""
        ...

    def lost(self, why: str) -> None:
        """Say that there was nothing to see."""
        ...


class Plain:
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

    def lost(self, why: str) -> None:
        """Say so on stderr."""
        click.echo(clean(why), err=True)


class JsonLines(Plain):
    """One document a line."""

    def saw(self, raw: str, doc: Doc) -> None:
        """Print it as the API sent it, which is one line."""
        del doc
        click.echo(" ".join(raw.splitlines()))
        sys.stdout.flush()


class Changes(Plain):
    """A line of counts whenever they change."""

    def __init__(self) -> None:
        self._last = ""

    def saw(self, raw: str, doc: Doc) -> None:
        """Print the states that have jobs."""
        del raw
        line = "  ".join(f"{name} {number}" for name, number in doc["states"].items() if number)
        if line != self._last:
            click.echo(clean(line) or "no jobs")
            sys.stdout.flush()
        self._last = line


class Redrawn:
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

    def saw(self, raw: str, doc: Doc) -> None:
        """Draw it."""
        del raw
        self._live.update(Group(*stats(doc)), refresh=True)

    def lost(self, why: str) -> None:
        """Put it in place of what was there."""
        self._live.update(text(why, "yellow"), refresh=True)


def screen_of_choice() -> Screen:
    """Redraw on a terminal, else print changes."""
    return Redrawn() if sys.stdout.isatty() else Changes()
