"""What every scenario gets: somewhere to report its line of the table."""

from collections.abc import Callable

import pytest

from tests.chaos.chaos_system import ScenarioRow
from tests.chaos.summary_table import TABLE

Report = Callable[[ScenarioRow], None]


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Takes the line of a scenario."""

    def take(row: ScenarioRow) -> None:
        record_property(TABLE, str(row))

    return take
