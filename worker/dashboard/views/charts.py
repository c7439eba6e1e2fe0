"""Charts as SVG, drawn on the server: geometry here, markup in `parts.html`, colours in the CSS.

Every chart also has its values as a table, for readers who cannot see the image.
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
X_TICKS: Final = 4

MIN_VALUE: Final = 1e-6
"""A smaller maximum counts as zero."""


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart: a value for each time, None if nothing was measured."""

    name: str
    css_class: str
    """The CSS class that sets its colour."""
    values: tuple[float | None, ...]

    @property
    def last(self) -> float | None:
        """The latest measured value; None if there is none."""
        return next((value for value in reversed(self.values) if value is not None), None)


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A mark on an axis: SVG position and label."""

    position: float
    text: str


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """A line with its SVG path."""

    line: ChartLine
    path: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart for the template; times are Unix seconds."""

    id: str
    title: str
    unit: str
    times: tuple[float, ...]
    drawn_lines: tuple[DrawnLine, ...]
    x_ticks: tuple[AxisTick, ...]
    y_ticks: tuple[AxisTick, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no line has a value other than zero."""
        return not any(value for one in self.drawn_lines for value in one.line.values)


def draw(
    chart_id: str, title: str, unit: str, times: Sequence[float], lines: Sequence[ChartLine]
) -> Chart:
    """Compute the geometry of a chart; every line has one value per time."""
    top = axis_top(max((v for line in lines for v in line.values if v is not None), default=0.0))
    return Chart(
        id=chart_id,
        title=title,
        unit=unit,
        times=tuple(times),
        drawn_lines=tuple(DrawnLine(line, _path(line.values, top)) for line in lines),
        x_ticks=_x_ticks(times),
        y_ticks=y_ticks(top),
    )


def _x(number: int, of: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (number / max(1, of - 1))


def _y(value: float, max_value: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / max_value)


def _path(values: Sequence[float | None], max_value: float) -> str:
    """The SVG path of a line: missing values are gaps, a single value is a short dash."""
    parts: list[str] = []
    is_open = False
    for number, value in enumerate(values):
        if value is None:
            is_open = False
            continue
        point = f"{_x(number, len(values)):.1f} {_y(value, max_value):.1f}"
        parts.append(f"L{point}" if is_open else f"M{point}h.1")
        is_open = True
    return "".join(parts)


def axis_top(max_value: float) -> float:
    """The top of a value axis, a round number: 1, 2 or 5 times a power of ten."""
    if max_value < MIN_VALUE or not math.isfinite(max_value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(max_value))
    return next((step * power for step in (1, 2, 5) if step * power >= max_value), 10 * power)


def y_ticks(max_value: float) -> tuple[AxisTick, ...]:
    """Labels of the value axis: none, half and all of its top."""
    return tuple(
        AxisTick(_y(max_value * part, max_value), f"{max_value * part:g}")
        for part in (0.0, 0.5, 1.0)
    )


def _x_ticks(times: Sequence[float]) -> tuple[AxisTick, ...]:
    """Labels of the time axis: the age relative to the last time."""
    if not times:
        return ()
    last, found = len(times) - 1, list[AxisTick]()
    for part in range(X_TICKS + 1):
        number = round(last * part / X_TICKS)
        age = times[last] - times[number]
        found.append(
            AxisTick(_x(number, last + 1), "now" if part == X_TICKS else f"−{_age_text(age)}")
        )
    return tuple(found)


def _age_text(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes, as in `duration_text`
        return f"{seconds:.0f} s"
    if seconds < 7_200:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h"
