"""Charts as SVG, drawn on the server: geometry here, markup in `chart.html`, colours in the sheet.

Every chart says its values in a table, too: a picture alone is nothing to whoever cannot see it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 180
LEFT: Final = 46
RIGHT: Final = 10
TOP: Final = 10
BOTTOM: Final = 24
TICKS_ABOUT: Final = 4

LEAST: Final = 1e-6
"""What is less is drawn as nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: a value for each of its moments, None where nothing was measured."""

    name: str
    style: str
    """The class that colours it."""
    values: tuple[float | None, ...]

    @property
    def last(self) -> float | None:
        """The latest value that was measured."""
        return next((value for value in reversed(self.values) if value is not None), None)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: where, and what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line as SVG path."""

    line: Line
    path: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, ready for its template. Moments are Unix seconds."""

    id: str
    title: str
    unit: str
    moments: tuple[float, ...]
    drawn: tuple[Drawn, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured at all."""
        return not any(value for one in self.drawn for value in one.line.values)


def draw(
    chart_id: str, title: str, unit: str, moments: Sequence[float], lines: Sequence[Line]
) -> Chart:
    """Lay a chart out; every line has a value a moment."""
    top = _ceiling(max((v for line in lines for v in line.values if v is not None), default=0.0))
    return Chart(
        id=chart_id,
        title=title,
        unit=unit,
        moments=tuple(moments),
        drawn=tuple(Drawn(line, _path(line.values, top)) for line in lines),
        across=_across(moments),
        up=_up(top),
    )


def _x(number: int, of: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (number / max(1, of - 1))


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)


def _path(values: Sequence[float | None], top: float) -> str:
    """Lines between neighbours; a gap is a gap, a lone value a short dash."""
    parts: list[str] = []
    is_open = False
    for number, value in enumerate(values):
        if value is None:
            is_open = False
            continue
        point = f"{_x(number, len(values)):.1f} {_y(value, top):.1f}"
        parts.append(f"L{point}" if is_open else f"M{point}h.1")
        is_open = True
    return "".join(parts)


def _ceiling(most: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten."""
    if most < LEAST or not math.isfinite(most):
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next((step * power for step in (1, 2, 5) if step * power >= most), 10 * power)


def _up(top: float) -> tuple[Tick, ...]:
    return tuple(Tick(_y(top * part, top), f"{top * part:g}") for part in (0.0, 0.5, 1.0))


def _across(moments: Sequence[float]) -> tuple[Tick, ...]:
    """How long before the end, at a few places."""
    if not moments:
        return ()
    last, found = len(moments) - 1, list[Tick]()
    for part in range(TICKS_ABOUT + 1):
        number = round(last * part / TICKS_ABOUT)
        back = moments[last] - moments[number]
        found.append(
            Tick(_x(number, last + 1), "now" if part == TICKS_ABOUT else f"−{_back(back)}")
        )
    return tuple(found)


def _back(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes, like everywhere
        return f"{seconds:.0f} s"
    if seconds < 7_200:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h"
