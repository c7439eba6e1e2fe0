"""The table at the end of the run: one line a scenario, also when all is well."""

from collections.abc import Callable

import pytest

from tests.chaos.arena import Row

TABLE = "chaos"

Report = Callable[[Row], None]


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Takes the line of a scenario."""

    def take(row: Row) -> None:
        record_property(TABLE, str(row))

    return take


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        f"{value} [{outcome}]"
        for outcome in ("passed", "failed", "xfailed", "xpassed")
        for found in terminalreporter.stats.get(outcome, [])
        for name, value in found.user_properties
        if name == TABLE and found.when == "call"
    ]
    if rows:
        terminalreporter.section("chaos")
        for row in rows:
            terminalreporter.write_line(row)
