"""Delay against polls as an SVG of four small panels, readable on light and on dark ground."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.polling.baselines import PolicyPoint

WIDTH: Final = 360
HEIGHT: Final = 260
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 30, 40

POLLS: Final = (2.0, 16.0)
STYLE: Final = """\
  text { font: 12px system-ui, sans-serif; fill: #333 }
  .title { font-weight: 600 }
  .grid { stroke: #8884; stroke-width: 1 }
  .line { fill: none; stroke-width: 2 }
  .fixed { stroke: #888 } .optimum { stroke: #2a9d5c; stroke-dasharray: 5 4 }
  .learned { stroke: #2f6fde; fill: #2f6fde } .backoff { fill: #d1642c }
  .line.learned { fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .optimum { stroke: #57d993 } .learned { stroke: #7aa7ff; fill: #7aa7ff }
    .line.learned { fill: none } .backoff { fill: #ff9b66 } .fixed { stroke: #aaa }
  }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """What is drawn of one distribution."""

    title: str
    lines: Mapping[str, Sequence[PolicyPoint]]
    """By name, which is also the class that colours it: `fixed`, `optimum`, `learned`."""
    dots: Mapping[str, Sequence[PolicyPoint]]


def drawing(panels: Sequence[Panel]) -> str:
    """The whole picture."""
    rows = math.ceil(len(panels) / 2)
    parts = [_panel(panel, n % 2 * WIDTH, n // 2 * HEIGHT) for n, panel in enumerate(panels)]
    width, height = 2 * WIDTH, rows * HEIGHT + 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' aria-label="Mean delay against polls a run, for four distributions of durations">\n'
        f"<style>\n{STYLE}</style>\n{''.join(parts)}{_legend(rows * HEIGHT + 18)}</svg>\n"
    )


def _panel(panel: Panel, x: float, y: float) -> str:
    seen = [
        point.delay_s
        for points in (*panel.lines.values(), *panel.dots.values())
        for point in points
        if POLLS[0] <= point.polls <= POLLS[1]
    ]
    low, high = min(seen) / 1.15, max(seen) * 1.15
    across = _scale(*POLLS, LEFT, WIDTH - RIGHT)
    up = _scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [f'<g transform="translate({x:g} {y:g})">\n']
    parts.append(f'<text class="title" x="{LEFT}" y="20">{panel.title}</text>\n')
    for polls in (2, 3, 5, 8, 16):
        parts.append(_rule(across(polls), TOP, across(polls), HEIGHT - BOTTOM))
        parts.append(_text(across(polls), HEIGHT - BOTTOM + 16, f"{polls}", "middle"))
    for delay in _ticks(low, high):
        parts.append(_rule(LEFT, up(delay), WIDTH - RIGHT, up(delay)))
        parts.append(_text(LEFT - 6, up(delay) + 4, f"{delay:g} s", "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "polls a run", "middle"))
    for name, points in panel.lines.items():
        within = [p for p in points if POLLS[0] <= p.polls <= POLLS[1]]
        path = " ".join(f"{across(p.polls):.1f},{up(p.delay_s):.1f}" for p in within)
        parts.append(f'<polyline class="line {name}" points="{path}"/>\n')
    for name, points in panel.dots.items():
        within = [p for p in points if POLLS[0] <= p.polls <= POLLS[1]]
        parts += [_dot(name, across(p.polls), up(p.delay_s)) for p in within]
    return "".join([*parts, "</g>\n"])


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    """Logarithmic."""
    return lambda value: begin + (end - begin) * math.log(value / low) / math.log(high / low)


def _ticks(low: float, high: float) -> list[float]:
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
    return [step for step in steps if low <= step <= high]


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>\n'


def _dot(name: str, x: float, y: float) -> str:
    return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>\n'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>\n'


def _legend(y: float) -> str:
    parts: list[str] = []
    names = {"fixed": "fixed interval", "optimum": "optimum, knows the distribution"}
    for n, (name, text) in enumerate(names.items()):
        x = 40 + 140 * n
        parts.append(f'<polyline class="line {name}" points="{x},{y - 4} {x + 22},{y - 4}"/>\n')
        parts.append(_text(x + 28, y, text, "start"))
    for n, (name, text) in enumerate({"learned": "learned", "backoff": "1 s × 1.5 ≤ 20 s"}.items()):
        x = 440 + 100 * n
        parts.append(_dot(name, x, y - 4))
        parts.append(_text(x + 10, y, text, "start"))
    return "".join(parts)
