"""What every scenario gets: somewhere to report its line of the table."""

from collections.abc import Callable

import pytest

from tests.chaos.arena import Row
from tests.chaos.table import TABLE

Report = Callable[[Row], None]


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Takes the line of a scenario."""

    def take(row: Row) -> None:
        record_property(TABLE, str(row))

    return take
