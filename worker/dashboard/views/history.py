"""The charts of the overview: how much got done, and how late we learned of it."""

from collections.abc import Sequence
from typing import Final

from worker.dashboard.page_request import PageRequest
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
    """The window that an address asks for."""
    return SeriesWindow(text) if text in tuple(SeriesWindow) else DEFAULT_WINDOW


async def history_charts(page_request: PageRequest, window: SeriesWindow) -> tuple[Chart, ...]:
    """Throughput and delay within a window; what has only begun is left out."""
    points = (await page_request.context.store.series.read(window, page_request.now))[:-1]
    return _throughput(points), _delay(points)


def _throughput(points: Sequence[SeriesPoint]) -> Chart:
    lines = [
        ChartLine(name, style, tuple(_rate(point, name) for point in points))
        for name, style in _THROUGHPUT_LINES
    ]
    return draw("throughput", "Throughput", "jobs a minute", _times(points), lines)


def _delay(points: Sequence[SeriesPoint]) -> Chart:
    lines = [
        ChartLine("median", "line-a", tuple(point.delay_p50_s for point in points)),
        ChartLine("95 of 100", "line-d", tuple(point.delay_p95_s for point in points)),
    ]
    title = "Delay from a run's end to its record"
    return draw("delay", title, "seconds", _times(points), lines)


def _rate(point: SeriesPoint, name: str) -> float:
    return point.counts[name] * 60.0 / point.step_s


def _times(points: Sequence[SeriesPoint]) -> tuple[float, ...]:
    return tuple(point.at for point in points)
