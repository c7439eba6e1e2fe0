"""Prints results as a table, and as one line of JSON for programs, which is the last line."""

import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure ought to be: at most so much, or with `at_least` at least so much."""

    name: str
    found: float
    wanted: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.found >= self.wanted if self.at_least else self.found <= self.wanted


def table(columns: Mapping[str, Figures], title: str = "") -> None:
    """One line a figure, one column a contestant; figures that one lacks are a dash."""
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    margin = max(len(name) for name in [*names, title])
    widths = [max(11, len(label)) for label in columns]
    heads = (f"{label:>{width}}" for label, width in zip(columns, widths, strict=True))
    _say(f"{title:{margin}} ", *heads)
    for name in names:
        cells = (
            f"{_number(figures.get(name)):>{width}}"
            for figures, width in zip(columns.values(), widths, strict=True)
        )
        _say(f"{name:{margin}} ", *cells)
    _say()


def aims(found: Sequence[Aim]) -> None:
    """Each aim with what was found, and whether it is met."""
    margin = max(len(aim.name) for aim in found)
    for aim in found:
        sign, result = ("≥" if aim.at_least else "≤"), ("met" if aim.met else "NOT MET")
        _say(f"{aim.name:{margin}}  {_number(aim.found):>10}  {sign} {aim.wanted:<8g} {result}")
    _say()


def as_json(bench: str, figures: Mapping[str, Any], wanted: Sequence[Aim] = ()) -> None:
    """Everything in one line, with the machine it was measured on."""
    rows = [asdict(aim) | {"met": aim.met} for aim in wanted]
    _say(json.dumps({"bench": bench, "machine": machine(), **figures, "aims": rows}))
    sys.stdout.flush()


def machine() -> dict[str, Any]:
    """Where it was measured, and how busy that was."""
    return {
        "cpus": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) or abs(value) >= 1_000:  # noqa: PLR2004 - no fraction worth reading
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"  # noqa: PLR2004 - same


def _say(*words: str) -> None:
    print(*words)  # noqa: T201
