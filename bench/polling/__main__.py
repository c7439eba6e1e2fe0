"""Delay against polls, in virtual time: python -m bench.polling [--json].

The worker's own sketch and schedules, learning from nothing but their own polls, beside the best
fixed interval, a usual exponential backoff, and the optimum that knows the true distribution, all
at the same number of polls. About half a minute; writes docs/polling.svg.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

from bench.polling.baselines import (
    PolicyPoint,
    at_delay,
    at_polls,
    backoff,
    fixed,
    fixed_at,
    optimum,
)
from bench.polling.duration_cases import CASES, SHORT, DurationCase
from bench.polling.svg_chart import Panel, drawing
from bench.polling.virtual_runs import DEFAULT, WIDE, bursts, learned_at, shifted

Row = dict[str, Any]

SEEDS: Final = 5
POLLS_PER_RUN: Final = 5.0
"""Polls per run at which all plans are compared."""

SWEEP: Final = (2.5, 3.5, 7.0, 10.0, 14.0)
SHIFT_SEEDS: Final = 6

DELAY_MOST: Final = 1.15
P99_MOST: Final = 1.35
"""The aims: parts of the optimum's mean delay, and of the fixed interval's p99."""

SHORT_DELAY_MOST: Final = 0.75
SHORT_POLLS_MOST: Final = 0.8

PICTURE: Final = Path(__file__).parents[2] / "docs" / "polling.svg"


def average(points: list[PolicyPoint]) -> PolicyPoint:
    """The mean of several measurements."""
    polls, delays, tails = zip(*((p.polls, p.delay_s, p.p99_s) for p in points), strict=True)
    return PolicyPoint(statistics.fmean(polls), statistics.fmean(delays), statistics.fmean(tails))


def measured(
    case: DurationCase, polls_per_run: float, bounds: tuple[float, float], seeds: int
) -> Row:
    """What was learned, beside the others at the same number of polls."""
    points = [learned_at(case, polls_per_run, seed, bounds) for seed in range(1, seeds + 1)]
    ours, best = average(points), optimum(case)
    even = fixed_at(case, ours.polls)
    ratios = [p.delay_s / at_polls(best, p.polls) for p in points]
    return {
        "case": case.name,
        "polls": ours.polls,
        "delay_s": ours.delay_s,
        "optimum_s": at_polls(best, ours.polls),
        "fixed_s": even.delay_s,
        "of_optimum": statistics.fmean(ratios),
        "of_optimum_worst_seed": max(ratios),
        "of_fixed": ours.delay_s / even.delay_s,
        "p99_s": ours.p99_s,
        "p99_of_fixed": ours.p99_s / even.p99_s,
    }


def against_backoff(case: DurationCase, curve: list[PolicyPoint]) -> Row:
    """The usual backoff, and what was learned at as many polls."""
    usual = backoff(case)
    ours = at_polls(curve, usual.polls)
    return {
        "case": case.name,
        "polls": usual.polls,
        "backoff_s": usual.delay_s,
        "delay_s": ours,
        "of_backoff": ours / usual.delay_s,
    }


def after_a_shift(case: DurationCase) -> Row:
    """How polls do once every run takes twice as long."""
    seeds = [shifted(case, POLLS_PER_RUN, seed) for seed in range(1, SHIFT_SEEDS + 1)]
    first, soon, then = (average([seed[n] for seed in seeds]) for n in range(3))
    least = at_polls(optimum(case.doubled()), then.polls)
    return {
        "case": case.name,
        "first_20": [first.polls, first.delay_s],
        "to_100": [soon.polls, soon.delay_s],
        "100_to_300": [then.polls, then.delay_s],
        "of_optimum": then.delay_s / least,
    }


def in_bursts(case: DurationCase) -> Row:
    """600 runs at once, three times: the first burst knows nothing."""
    first, second, third = bursts(case, POLLS_PER_RUN, 1)
    return {
        "case": case.name,
        "first": [first.polls, first.delay_s],
        "second": [second.polls, second.delay_s],
        "third": [third.polls, third.delay_s],
        "of_optimum": third.delay_s / at_polls(optimum(case), third.polls),
    }


def short_runs() -> Row:
    """Runs of about 3 s against one poll a second: less delay, or fewer polls."""
    second = fixed(SHORT, 1.0)
    curve = sorted(
        (
            average([learned_at(SHORT, polls, seed, DEFAULT) for seed in (1, 2, 3)])
            for polls in (2.25, 2.75, 3.25, 3.75, 4.25)
        ),
        key=lambda point: point.polls,
    )
    return {
        "each_second": [second.polls, second.delay_s],
        "delay_at_its_polls": at_polls(curve, second.polls) / second.delay_s,
        "polls_at_its_delay": at_delay(curve, second.delay_s) / second.polls,
    }


def main() -> None:
    """Measure, print, draw."""
    rows = [measured(case, POLLS_PER_RUN, WIDE, SEEDS) for case in CASES]
    bounded = [measured(case, POLLS_PER_RUN, DEFAULT, SEEDS) for case in CASES]
    sweeps = [[measured(case, polls, WIDE, 1) for polls in SWEEP] for case in CASES]
    curves = [
        sorted(
            (PolicyPoint(r["polls"], r["delay_s"]) for r in (row, *sweep)),
            key=lambda point: point.polls,
        )
        for row, sweep in zip(rows, sweeps, strict=True)
    ]
    found = {
        "polls": rows,
        "default_bounds": bounded,
        "other_numbers_of_polls": [row for sweep in sweeps for row in sweep],
        "backoff": [against_backoff(*pair) for pair in zip(CASES, curves, strict=True)],
        "shift": [after_a_shift(case) for case in CASES],
        "bursts": [in_bursts(case) for case in CASES],
        "short": short_runs(),
    }
    PICTURE.write_text(drawing([_panel(*p) for p in zip(CASES, curves, strict=True)]))
    if "--json" in sys.argv[1:]:
        print(json.dumps(found))  # noqa: T201
    else:
        print("\n".join(_report(found)))  # noqa: T201


def _panel(case: DurationCase, curve: list[PolicyPoint]) -> Panel:
    every = [fixed_at(case, 2 * 1.09**n) for n in range(25)]
    lines = {"fixed": every, "optimum": optimum(case), "learned": curve}
    return Panel(case.name, lines, {"learned": curve, "backoff": [backoff(case)]})


def _report(found: Row) -> list[str]:
    lines = [*_table("At the same number of polls", found["polls"]), *_summary(found["polls"])]
    lines += _table("Bounds 0.5 s, 30 s (ours only)", found["default_bounds"])
    lines += _table("Other numbers, one seed each", found["other_numbers_of_polls"])
    lines += ["", "Backoff 1 s x 1.5 <= 20 s         polls  backoff s  learned s  ratio"]
    lines += [
        f"  {r['case']:30} {r['polls']:6.2f} {r['backoff_s']:10.3f} {r['delay_s']:10.3f}"
        f" {r['of_backoff']:6.2f}"
        for r in found["backoff"]
    ]
    lines += ["", "Every run takes twice as long      first 20       to the 100th   100th to 300th"]
    lines += [
        f"  {r['case']:30}"
        + "".join(f"{p:6.1f} / {s:5.2f} s" for p, s in (r["first_20"], r["to_100"]))
        + f"{r['100_to_300'][0]:6.1f} / {r['100_to_300'][1]:5.2f} s"
        + f"  {r['of_optimum']:.2f} x optimum"
        for r in found["shift"]
    ]
    lines += ["", "600 runs at once, bounds 0.5 s, 30 s  first         second          third"]
    lines += [
        f"  {r['case']:30}"
        + "".join(f"{p:6.1f} / {s:5.2f} s" for p, s in (r["first"], r["second"], r["third"]))
        + f"  {r['of_optimum']:.2f} x optimum"
        for r in found["bursts"]
    ]
    short = found["short"]
    lines += ["", f"Runs of {SHORT.name}, against one poll a second"]
    polls, delay = short["each_second"]
    lines.append(f"  each second: {polls:.2f} polls, {delay:.3f} s")
    lines.append(
        f"  at its polls: {short['delay_at_its_polls']:.2f} of its delay"
        f" (aim {SHORT_DELAY_MOST}: {_met(short['delay_at_its_polls'], SHORT_DELAY_MOST)})"
    )
    lines.append(
        f"  at its delay: {short['polls_at_its_delay']:.2f} of its polls"
        f" (aim {SHORT_POLLS_MOST}: {_met(short['polls_at_its_delay'], SHORT_POLLS_MOST)})"
    )
    return lines


def _table(title: str, rows: list[Row]) -> list[str]:
    lines = ["", f"{title:32} polls  delay s  optimum s  ratio  worst  fixed s  ratio  p99/fixed"]
    lines += [
        f"  {r['case']:30} {r['polls']:5.2f} {r['delay_s']:8.3f} {r['optimum_s']:10.3f}"
        f" {r['of_optimum']:6.3f} {r['of_optimum_worst_seed']:6.3f} {r['fixed_s']:8.3f}"
        f" {r['of_fixed']:6.2f} {r['p99_of_fixed']:10.2f}"
        for r in rows
    ]
    beyond = sum(r["of_optimum"] > DELAY_MOST or r["p99_of_fixed"] > P99_MOST for r in rows)
    return lines + [f"  {beyond} of {len(rows)} beyond {DELAY_MOST} or p99 {P99_MOST}"] * (
        beyond > 0
    )


def _summary(rows: list[Row]) -> list[str]:
    delay, tail = (max(r[name] for r in rows) for name in ("of_optimum", "p99_of_fixed"))
    return [
        f"  mean delay at most {DELAY_MOST} x optimum: {_met(delay, DELAY_MOST)}",
        f"  p99 at most {P99_MOST} x fixed interval's: {_met(tail, P99_MOST)}",
    ]


def _met(found: float, most: float) -> str:
    return "met" if found <= most else f"NOT MET ({found:.2f})"


if __name__ == "__main__":
    main()
