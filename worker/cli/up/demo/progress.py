"""The demo's progress: a table drawn in place on a terminal, else a line for each change."""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import click
from rich.live import Live

from worker.cli.output import console, new_table, show, state_text, text, widest
from worker.cli.text import Doc
from worker.cli.up.demo.scenarios import DemoScenario
from worker.cli.up.demo.setup import DemoSetup

STATE_WIDTH: Final = 10
"""The longest state: the table keeps its width."""


class LiveProgress:
    """A table drawn in place."""

    def __init__(self, live: Live, scenarios: Sequence[DemoScenario]) -> None:
        self._live = live
        self._scenarios = scenarios

    def show_jobs(self, jobs: Mapping[str, Doc]) -> None:
        """Draw the jobs, by the name of their scenario."""
        widths = {"JOB": widest(scenario.name for scenario in self._scenarios)}
        widths["STATE"] = STATE_WIDTH
        table = new_table("JOB", "WHAT IT SHOWS", "STATE", "DETAIL", min_widths=widths)
        for scenario in self._scenarios:
            job = jobs.get(scenario.name)
            table.add_row(
                text(scenario.name),
                text(scenario.shows, "dim"),
                state_text(job["state"]) if job else text("…"),
                text(_detail(job) if job else ""),
            )
        self._live.update(table, refresh=True)


class LineProgress:
    """A line for each change."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last: dict[str, str] = {}

    def show_jobs(self, jobs: Mapping[str, Doc]) -> None:
        """Print the jobs that changed."""
        elapsed = time.monotonic() - self._started
        for name, job in jobs.items():
            now = f"{job['state']} {_detail(job)}".strip()
            if self._last.get(name) != now:
                click.echo(f"{elapsed:5.1f} s  {name:<16} {now}")
            self._last[name] = now


def _detail(job: Doc) -> str:
    """The code of its reason, or its attempt."""
    reason: Doc = job.get("reason") or {}
    attempt = int(job.get("attempt") or 0)
    return str(reason.get("code") or (f"attempt {attempt}" if attempt > 1 else ""))


@contextmanager
def progress(
    setup: DemoSetup, scenarios: Sequence[DemoScenario]
) -> Generator[LiveProgress | LineProgress]:
    """Yield the view for a terminal or for piped output."""
    show(text(f"\nDemo batch {setup.batch}: {len(scenarios)} jobs", "bold"))
    screen = console()
    if not screen.is_terminal:
        yield LineProgress()
        return
    with Live(console=screen, auto_refresh=False) as live:
        yield LiveProgress(live, scenarios)
