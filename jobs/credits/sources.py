"""Who says what an attempt cost."""

from enum import StrEnum


class CostSource(StrEnum):
    """Who says what an attempt cost, where it was not the answer to a poll or a sync run."""

    USAGE = "usage"
    """The provider's list of runs."""
    ESTIMATE = "estimate"
    """Nobody yet: it is what the job was expected to cost, or unknown."""
