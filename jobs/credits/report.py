"""Rows of the ledger as people ask for them: by day, account, target, tag or batch."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from jobs.credits.charges import MICRO, Dimension, Measure

MAX_DAYS: Final = 400
"""Most days of one report: sums are kept no longer."""


class CreditsBy(StrEnum):
    """What the rows of a report are."""

    DAY = "day"
    ACCOUNT = "account"
    TARGET = "target"
    TAG = "tag"
    BATCH = "batch"

    @property
    def dimension(self) -> Dimension:
        """Whose sums the rows follow from."""
        match self:
            case CreditsBy.DAY | CreditsBy.ACCOUNT | CreditsBy.TARGET:
                return Dimension.LANE
            case CreditsBy.TAG:
                return Dimension.TAG
            case CreditsBy.BATCH:
                return Dimension.BATCH
            case _:
                assert_never(self)


class DaySum(NamedTuple):
    """One sum of a day, as it is stored."""

    day: str
    name: str
    measure: Measure
    amount: int


class CreditsRow(NamedTuple):
    """What was spent on one day, account, target, tag or batch. Amounts are credits."""

    key: str
    credits: float = 0.0
    """Estimates included."""
    charges: int = 0
    """Attempts that cost something, or may have."""
    estimated: float = 0.0
    """The part of `credits` that is an estimate: the provider has not said what it is."""
    usage: float = 0.0
    """The part that the provider's list of runs named."""
    retries: float = 0.0
    """The part of attempts that another attempt of the same job followed."""
    dead: float = 0.0
    """The part of jobs that are dead letters, or were discarded."""
    unknown: int = 0
    """Attempts of `charges` whose cost is unknown and has no estimate."""


class CreditsRows:
    """Adds up sums of days, as they are read, to the rows of a report."""

    def __init__(self, by: CreditsBy) -> None:
        self._by = by
        self._amounts: dict[str, dict[Measure, int]] = {}

    def add(self, one: DaySum) -> None:
        """Add a sum of the dimension of these rows to the row it belongs to."""
        own = self._amounts.setdefault(_key(one, self._by), {})
        own[one.measure] = own.get(one.measure, 0) + one.amount

    def rows(self) -> list[CreditsRow]:
        """Days in their order, other rows by credits, the most first."""
        rows = [_row(key, own) for key, own in self._amounts.items() if any(own.values())]
        if self._by is CreditsBy.DAY:
            return sorted(rows, key=lambda row: row.key)
        return sorted(rows, key=lambda row: (-row.credits, row.key))


def total(rows: Iterable[CreditsRow]) -> CreditsRow:
    """The sum of rows that do not overlap, to the millionth of a credit."""
    found = list(rows)
    return CreditsRow(
        "total",
        credits=round(sum(row.credits for row in found), 6),
        charges=sum(row.charges for row in found),
        estimated=round(sum(row.estimated for row in found), 6),
        usage=round(sum(row.usage for row in found), 6),
        retries=round(sum(row.retries for row in found), 6),
        dead=round(sum(row.dead for row in found), 6),
        unknown=sum(row.unknown for row in found),
    )


def days_between(since: date, until: date) -> list[str]:
    """The days of a report, both ends included; at most the newest `MAX_DAYS`."""
    count = min((until - since).days + 1, MAX_DAYS)
    return [(until - timedelta(days=back)).isoformat() for back in range(count - 1, -1, -1)]


def _key(one: DaySum, by: CreditsBy) -> str:
    match by:
        case CreditsBy.DAY:
            return one.day
        case CreditsBy.ACCOUNT:
            return one.name.partition("/")[0]
        case CreditsBy.TARGET:
            return one.name.partition("/")[2]
        case CreditsBy.TAG | CreditsBy.BATCH:
            return one.name
        case _:
            assert_never(by)


def _row(key: str, amounts: Mapping[Measure, int]) -> CreditsRow:
    def credit(measure: Measure) -> float:
        return amounts.get(measure, 0) / MICRO

    return CreditsRow(
        key,
        credits=credit(Measure.CREDITS),
        charges=amounts.get(Measure.CHARGES, 0),
        estimated=credit(Measure.ESTIMATED),
        usage=credit(Measure.USAGE),
        retries=credit(Measure.RETRIES),
        dead=credit(Measure.DEAD),
        unknown=amounts.get(Measure.UNKNOWN, 0),
    )
