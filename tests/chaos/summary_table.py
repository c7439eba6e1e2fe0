"""The table at the end of the run: one line for each scenario, passed or failed.

The lines travel as properties of the reports, so the processes of xdist pass them on, too.
There only `tests/conftest.py` is read before the tests are handed out: it is what hooks this in.
"""

import pytest

TABLE = "chaos"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines of every scenario that ran, with its outcome."""
    rows = [
        f"{value} [{outcome}]"
        for outcome in ("passed", "failed", "xfailed", "xpassed")
        for found in terminalreporter.stats.get(outcome, [])
        for name, value in found.user_properties
        if name == TABLE and found.when == "call"
    ]
    if rows:
        terminalreporter.section("chaos")
        for row in sorted(rows):
            terminalreporter.write_line(row)
