"""The charts of the overview: throughput, and the delay until a result is recorded."""

from collections.abc import Sequence
from typing import Final

from worker.dashboard.views.charts import Chart, ChartLine, draw
from worker.store.metrics.series import SeriesPoint, SeriesWindow

DEFAULT_WINDOW: Final = SeriesWindow.HOUR

_THROUGHPUT_LINES: Final = (
    ("enqueued", "line-a"),
    ("succeeded", "line-b"),
    ("dead", "line-c"),
    ("parked", "line-d"),
)


def parse_window(text: str) -> SeriesWindow:
    """The window of the `window` query field; one hour if it is invalid."""
    return SeriesWindow(text) if text in tuple(SeriesWindow) else DEFAULT_WINDOW


def history_charts(points: Sequence[SeriesPoint]) -> tuple[Chart, ...]:
    """Throughput and delay over time, without the last step, which is not complete yet."""
    complete = points[:-1]
    return _throughput(complete), _delay(complete)


def _throughput(points: Sequence[SeriesPoint]) -> Chart:
    lines = [
        ChartLine(name, style, tuple(_rate(point, name) for point in points))
        for name, style in _THROUGHPUT_LINES
    ]
    return draw("throughput", "Throughput", "jobs per minute", _times(points), lines)


def _delay(points: Sequence[SeriesPoint]) -> Chart:
    lines = [
        ChartLine("p50", "line-a", tuple(point.delay_p50_s for point in points)),
        ChartLine("p95", "line-d", tuple(point.delay_p95_s for point in points)),
    ]
    title = "Delay from the end of a run to its recorded result"
    return draw("delay", title, "seconds", _times(points), lines)


def _rate(point: SeriesPoint, name: str) -> float:
    return point.counts[name] * 60.0 / point.step_s


def _times(points: Sequence[SeriesPoint]) -> tuple[float, ...]:
    return tuple(point.at for point in points)
