"""The demo as it goes: a table in place on a terminal, else a line for each step of a job."""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import click
from rich.live import Live
from rich.table import Table

from worker.cli.output import console, new_table, show, state_text, text, widest
from worker.cli.up.demo.scenarios import DemoScenario
from worker.cli.up.demo.setup import DemoSetup

Doc = dict[str, Any]

STATE_WIDTH: Final = 10
"""As wide as any state, so that the table does not jump."""


class Progress(Protocol):
    """Something that shows where the jobs are."""

    def show_jobs(self, jobs: Mapping[str, Doc]) -> None:
        """Show the jobs, by the scene's name."""
        ...


class _LiveProgress:
    def __init__(self, live: Live, scenarios: Sequence[DemoScenario]) -> None:
        self._live = live
        self._scenarios = scenarios

    def show_jobs(self, jobs: Mapping[str, Doc]) -> None:
        self._live.update(self._draw(jobs), refresh=True)

    def _draw(self, jobs: Mapping[str, Doc]) -> Table:
        whole = {"JOB": widest(scene.name for scene in self._scenarios), "STATE": STATE_WIDTH}
        table = new_table("JOB", "WHAT IT SHOWS", "STATE", "NOW", min_widths=whole)
        for scene in self._scenarios:
            job = jobs.get(scene.name)
            table.add_row(
                text(scene.name),
                text(scene.shows, "dim"),
                state_text(job["state"]) if job else text("…"),
                text(_detail(job) if job else ""),
            )
        return table


class _LineProgress:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last: dict[str, str] = {}

    def show_jobs(self, jobs: Mapping[str, Doc]) -> None:
        since = time.monotonic() - self._began
        for name, job in jobs.items():
            now = f"{job['state']} {_detail(job)}".strip()
            if self._last.get(name) != now:
                click.echo(f"{since:5.1f} s  {name:<16} {now}")
            self._last[name] = now


def _detail(job: Doc) -> str:
    """Why it is where it is, or at which attempt."""
    reason: Doc = job.get("reason") or {}
    attempt = int(job.get("attempt") or 0)
    return str(reason.get("code") or (f"attempt {attempt}" if attempt > 1 else ""))


@contextmanager
def progress(setup: DemoSetup, scenarios: Sequence[DemoScenario]) -> Generator[Progress]:
    """Yield what fits the place that output goes to."""
    show(text(f"\nDemo batch {setup.batch}: {len(scenarios)} jobs", "bold"))
    screen = console()
    if not screen.is_terminal:
        yield _LineProgress()
        return
    with Live(console=screen, auto_refresh=False) as live:
        yield _LiveProgress(live, scenarios)
