"""Fixture of every scenario: reports its row of the table."""

from collections.abc import Callable

import pytest

from tests.chaos.chaos_system import ScenarioRow
from tests.chaos.summary_table import TABLE

Report = Callable[[ScenarioRow], None]


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Reports the row of a scenario."""

    def take(row: ScenarioRow) -> None:
        record_property(TABLE, str(row))

    return take
