"""Bar charts as SVG, drawn on the server: geometry here, markup in `parts.html`.

Every chart also has its values as a table, for readers who cannot see the image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from worker.dashboard.views.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    X_TICKS,
    AxisTick,
    axis_top,
    y_ticks,
)
from worker.dashboard.views.formatting import number

GAP_SHARE: Final = 0.2
"""Share of a slot's width that stays free."""

LABEL_WIDTH: Final = 66.0
"""Width of a day below the chart, and of the space to the next one."""

MIN_BAR_HEIGHT: Final = 1.0
"""Height of the lowest bar, so that every value above zero is visible."""


@dataclass(frozen=True, slots=True)
class BarSeries:
    """One value for each slot of a chart."""

    name: str
    css_class: str
    """The CSS class that sets its colour."""
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: SVG position and size."""

    css_class: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class BarSlot:
    """The bars of one label; the title names their values."""

    title: str
    x: float
    width: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class BarChart:
    """A bar chart for the template. A slot without a value above zero has no bars."""

    id: str
    title: str
    unit: str
    label_name: str
    """What the labels are, as the head of their column in the table."""
    labels: tuple[str, ...]
    series: tuple[BarSeries, ...]
    slots: tuple[BarSlot, ...]
    x_ticks: tuple[AxisTick, ...]
    y_ticks: tuple[AxisTick, ...]

    @property
    def shows_all_labels(self) -> bool:
        """Whether each label has room below its slot."""
        return len(self.x_ticks) == len(self.labels)

    @property
    def is_empty(self) -> bool:
        """Whether it has no bar."""
        return not self.slots


@dataclass(frozen=True, slots=True)
class BarChartTexts:
    """What a chart is called, and what its values and labels are."""

    id: str
    title: str
    unit: str
    label_name: str


def draw_bars(
    texts: BarChartTexts, labels: Sequence[str], series: Sequence[BarSeries], *, is_stacked: bool
) -> BarChart:
    """Compute the geometry: the bars of a label on top of each other, or side by side."""
    columns = list(zip(*(one.values for one in series), strict=True))
    fold = sum if is_stacked else max
    top = axis_top(max((fold(values) for values in columns), default=0.0))
    return BarChart(
        id=texts.id,
        title=texts.title,
        unit=texts.unit,
        label_name=texts.label_name,
        labels=tuple(labels),
        series=tuple(series),
        slots=tuple(_slots(labels, series, top, is_stacked=is_stacked)),
        x_ticks=_x_ticks(labels),
        y_ticks=y_ticks(top),
    )


def _slots(
    labels: Sequence[str], series: Sequence[BarSeries], top: float, *, is_stacked: bool
) -> Iterator[BarSlot]:
    width = _slot_width(labels)
    for at, label in enumerate(labels):
        drawn = [one for one in series if one.values[at] > 0]
        if not drawn:
            continue
        x = LEFT + at * width
        bars = _stack(drawn, at, x, width, top) if is_stacked else _row(series, at, x, width, top)
        named = ", ".join(f"{one.name} {number(one.values[at])}" for one in series)
        yield BarSlot(f"{label}: {named}", round(x, 2), round(width, 2), tuple(bars))


def _stack(
    series: Sequence[BarSeries], at: int, x: float, slot_width: float, top: float
) -> Iterator[Bar]:
    base = float(HEIGHT - BOTTOM)
    for one in series:
        height = _height(one.values[at], top)
        base -= height
        yield _bar(one, x + slot_width * GAP_SHARE / 2, base, slot_width, height)


def _row(
    series: Sequence[BarSeries], at: int, x: float, slot_width: float, top: float
) -> Iterator[Bar]:
    width = slot_width / len(series)
    for place, one in enumerate(series):
        if one.values[at] > 0:
            height = _height(one.values[at], top)
            left = x + slot_width * GAP_SHARE / 2 + place * width * (1 - GAP_SHARE)
            yield _bar(one, left, HEIGHT - BOTTOM - height, width, height)


def _bar(one: BarSeries, x: float, y: float, width: float, height: float) -> Bar:
    """A bar of a part of a slot, without the gap."""
    shown = width * (1 - GAP_SHARE)
    return Bar(one.css_class, round(x, 2), round(y, 2), round(shown, 2), round(height, 2))


def _height(value: float, top: float) -> float:
    return max(MIN_BAR_HEIGHT, (HEIGHT - TOP - BOTTOM) * value / top)


def _slot_width(labels: Sequence[str]) -> float:
    return (WIDTH - LEFT - RIGHT) / max(1, len(labels))


def _x_ticks(labels: Sequence[str]) -> tuple[AxisTick, ...]:
    """All labels or some, evenly spaced, each at the middle of its slot."""
    last, width = len(labels) - 1, _slot_width(labels)
    parts = last if width >= LABEL_WIDTH else X_TICKS
    shown = dict.fromkeys(round(last * part / max(1, parts)) for part in range(parts + 1))
    return tuple(
        AxisTick(round(LEFT + (at + 0.5) * width, 1), labels[at]) for at in shown if last >= 0
    )
