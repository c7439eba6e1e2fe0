"""The charts of the overview: how much got done, and how late we learned of it."""

from collections.abc import Sequence
from typing import Final

from worker.dashboard.page_request import Visit
from worker.dashboard.views.charts import Chart, Line, draw
from worker.store.metrics.series import Point, Window

USUAL: Final = Window.HOUR

_THROUGHPUT: Final = (
    ("enqueued", "line-a"),
    ("succeeded", "line-b"),
    ("dead", "line-c"),
    ("parked", "line-d"),
)


def wanted_window(text: str) -> Window:
    """The window that an address asks for."""
    return Window(text) if text in tuple(Window) else USUAL


async def history_charts(visit: Visit, window: Window) -> tuple[Chart, ...]:
    """Throughput and delay within a window; what has only begun is left out."""
    points = (await visit.office.store.series.read(window, visit.now))[:-1]
    return _throughput(points), _delay(points)


def _throughput(points: Sequence[Point]) -> Chart:
    lines = [
        Line(name, style, tuple(_rate(point, name) for point in points))
        for name, style in _THROUGHPUT
    ]
    return draw("throughput", "Throughput", "jobs a minute", _moments(points), lines)


def _delay(points: Sequence[Point]) -> Chart:
    lines = [
        Line("median", "line-a", tuple(point.delay_p50_s for point in points)),
        Line("95 of 100", "line-d", tuple(point.delay_p95_s for point in points)),
    ]
    title = "Delay from a run's end to its record"
    return draw("delay", title, "seconds", _moments(points), lines)


def _rate(point: Point, name: str) -> float:
    return point.counts[name] * 60.0 / point.step_s


def _moments(points: Sequence[Point]) -> tuple[float, ...]:
    return tuple(point.at for point in points)
