"""Output: tables that fit a terminal, and plain columns where it is piped."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from worker.cli.text import Doc, sanitize

Columns = Mapping[str, Callable[[Doc], object]]
"""The cells of a row, each by the heading of its column."""

PIPE_WIDTH: Final = 100_000
"""Wider than any row: piped columns are neither wrapped nor cut."""

MAX_MIN_WIDTH: Final = 40
"""Half the width of the usual terminal."""

STATE_COLOURS: Final = {
    "scheduled": "blue",
    "waiting": "blue",
    "queued": "cyan",
    "submitting": "cyan",
    "running": "bright_cyan",
    "retrying": "yellow",
    "parked": "bold yellow",
    "cancelling": "magenta",
    "succeeded": "green",
    "dead": "bold red",
    "cancelled": "dim",
}


def console(*, stderr: bool = False) -> Console:
    """A console on the current stdout or stderr; colours only on a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def show(*parts: RenderableType, no_wrap: bool = False) -> None:
    """Print one part below the other. With `no_wrap`, a line may be wider than the terminal."""
    screen = console()
    if screen.is_terminal:
        for part in parts:
            screen.print(part, soft_wrap=no_wrap)
        return
    with screen.capture() as captured:  # without the blanks that fill up the columns
        for part in parts:
            screen.print(part, soft_wrap=no_wrap)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def state_text(name: object) -> Text:
    """A state in its colour."""
    return Text(sanitize(name), style=STATE_COLOURS.get(str(name), ""))


def text(value: object, style: str = "") -> Text:
    """A text without markup and control characters."""
    return Text(sanitize(value), style=style)


def new_table(
    *names: str, right_aligned: tuple[str, ...] = (), min_widths: Mapping[str, int] | None = None
) -> Table:
    """An empty table.

    `right_aligned` columns hold numbers. `min_widths` columns get this width before the others, up
    to half a screen; wider text is folded, never cut.
    """
    terminal = sys.stdout.isatty()
    table = Table(
        box=SIMPLE_HEAD if terminal else None,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold" if terminal else "",
    )
    widths = min_widths or {}
    for name in names:
        table.add_column(
            name,
            justify="right" if name in right_aligned else "left",
            overflow="fold",
            no_wrap=not terminal,
            min_width=min(widths[name], MAX_MIN_WIDTH) if name in widths else None,
        )
    return table


def _cell(value: object) -> Text:
    """A text in one line: a line feed in it must not look like another row."""
    return text(" ".join(str("" if value is None else value).splitlines()))


def doc_table(
    docs: Iterable[Doc],
    columns: Columns,
    *,
    right_aligned: tuple[str, ...] = (),
    min_widths: Mapping[str, int] | None = None,
) -> Table:
    """A table with a row for each document: `columns` makes its cells."""
    table = new_table(*columns, right_aligned=right_aligned, min_widths=min_widths)
    for doc in docs:
        cells = [cell(doc) for cell in columns.values()]
        table.add_row(*(cell if isinstance(cell, Text) else _cell(cell) for cell in cells))
    return table


def widest(texts: Iterable[object]) -> int:
    """The length of the longest text; 0 for none."""
    return max((len(sanitize(text)) for text in texts), default=0)


def key_value_table(rows: list[tuple[str, RenderableType]]) -> Table:
    """Names and values, one pair per line; empty values are omitted."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        if str(value):
            table.add_row(name, value)
    return table
