"""What runs cost, from the ledger."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from jobs.credits.report import (
    MAX_DAYS,
    CreditsBy,
    CreditsRow,
    CreditsRows,
    days_between,
    total,
)
from worker.app.enqueue import InvalidRequest
from worker.clock import Clock
from worker.store import Store

DEFAULT_DAYS: Final = 30

MAX_ROWS: Final = 5_000
"""Most rows of one report: a year can have 365,000 batches."""


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
    more: int = 0
    """Further rows, with fewer credits, that are not in `rows`."""


class Credits:
    """Reads the ledger for people."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def report(
        self, by: CreditsBy, since: date | None = None, until: date | None = None
    ) -> CreditsReport:
        """The rows of some days, of the last 30 by default; raises `InvalidRequest`."""
        return (await self.reports((by,), since, until))[by]

    async def reports(
        self, bys: Collection[CreditsBy], since: date | None = None, until: date | None = None
    ) -> dict[CreditsBy, CreditsReport]:
        """Several reports of the same days, each sum read once; raises `InvalidRequest`."""
        first, last = self._first_and_last(since, until)
        days = days_between(first, last)
        found = {by: CreditsRows(by) for by in (CreditsBy.DAY, *bys)}
        for dimension in dict.fromkeys(by.dimension for by in found):
            own = [one for by, one in found.items() if by.dimension is dimension]
            async for day_sum in self._store.ledger.sums(days, dimension):
                for one in own:
                    one.add(day_sum)
        # Beside the event loop, sorting delays nobody.
        rows = await asyncio.to_thread(lambda: {by: one.rows() for by, one in found.items()})
        all_charges = total(rows[CreditsBy.DAY])
        return {
            by: CreditsReport(
                by, first, last, rows[by][:MAX_ROWS], all_charges, max(0, len(rows[by]) - MAX_ROWS)
            )
            for by in bys
        }

    def _first_and_last(self, since: date | None, until: date | None) -> tuple[date, date]:
        last = datetime.fromtimestamp(self._clock.now(), UTC).date() if until is None else until
        default = date.fromordinal(max(1, last.toordinal() - DEFAULT_DAYS + 1))
        first = default if since is None else since
        if first > last:
            raise InvalidRequest("since", f"{first} is after `until` ({last})")
        if (last - first).days >= MAX_DAYS:
            raise InvalidRequest("since", f"at most {MAX_DAYS} days at once; it is before that")
        return first, last
