"""What runs cost, from the ledger."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from jobs.credits.report import (
    MAX_DAYS,
    CreditsBy,
    CreditsRow,
    DaySum,
    days_between,
    report,
    total,
)
from worker.app.enqueue import InvalidRequest
from worker.clock import Clock
from worker.store import Store

DEFAULT_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class CreditsReport:
    """Rows of the ledger, and their total."""

    by: CreditsBy
    since: date
    until: date
    """Both days are included; they are days of UTC."""
    rows: list[CreditsRow]
    total: CreditsRow
    """Of all charges; tags overlap, so it can be less than the sum of their rows."""


class Credits:
    """Reads the ledger for people."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def report(
        self, by: CreditsBy, since: date | None = None, until: date | None = None
    ) -> CreditsReport:
        """The rows of some days, of the last 30 by default; raises `InvalidRequest`."""
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        last = today if until is None else until
        first = last - timedelta(days=DEFAULT_DAYS - 1) if since is None else since
        if first > last:
            raise InvalidRequest("since", f"{first} is after `until` ({last})")
        if (last - first).days >= MAX_DAYS:
            raise InvalidRequest("since", f"at most {MAX_DAYS} days at once; it is before that")
        days = days_between(first, last)
        rows = report(await self._sums(days, by), by)
        if by.dimension is CreditsBy.DAY.dimension:
            return CreditsReport(by, first, last, rows, total(rows))
        all_rows = report(await self._sums(days, CreditsBy.DAY), CreditsBy.DAY)
        return CreditsReport(by, first, last, rows, total(all_rows))

    async def _sums(self, days: list[str], by: CreditsBy) -> list[DaySum]:
        return [one async for one in self._store.ledger.sums(days, by.dimension)]
