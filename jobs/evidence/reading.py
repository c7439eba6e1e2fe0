"""A reading of the provider's list: pages in, a proof of what was read in full out.

The order of the rows is assumed to be newest first, and checked: where it is another one, only a
reading of every row counts. Pages overlap. A page that shares no row with those before leaves a
gap, and the reading is void, as is one with a row that cannot be told from others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from jobs.usage import UsageRow

PAGE_ROWS: Final = 500
"""Rows asked for at once: the provider's maximum."""

OVERLAP_ROWS: Final = 25
"""Rows that a page repeats of the one before; of a short page, a quarter."""

MAX_ROWS: Final = 20_000
"""Most rows of one reading: some 40 pages."""


@dataclass(frozen=True, slots=True)
class CompleteReading:
    """Every row from the newest down to `lowest_id`, or all rows there are."""

    started_at: float
    """When its first page was asked for, Unix seconds."""
    rows: tuple[UsageRow, ...]
    is_whole: bool
    """Whether these are all rows there are."""

    @property
    def lowest_id(self) -> int:
        """The id of its oldest row, 0 without rows."""
        return min((row.id for row in self.rows), default=0)

    @property
    def highest_id(self) -> int:
        """The id of its newest row, 0 without rows."""
        return max((row.id for row in self.rows), default=0)


@dataclass(slots=True)
class UsageReading:
    """One reading under way: ask for the page at `offset`, `add` it, until `is_done`."""

    floor_at: float
    """It may end at a row that was created before this, Unix seconds."""
    started_at: float
    page_rows: int = PAGE_ROWS
    overlap: int = OVERLAP_ROWS
    offset: int = 0
    is_done: bool = False
    void: str = ""
    """Why the reading says nothing; empty while it may."""
    is_whole: bool = False
    _rows: dict[int, UsageRow] = field(default_factory=dict[int, UsageRow])
    _is_descending: bool = True
    _last_id: int | None = None

    def add(self, rows: Sequence[UsageRow], total: int | None, *, is_complete: bool) -> None:
        """Take the page at `offset`."""
        if not is_complete:
            self._end("a row of the list has no usable id")
            return
        if self.offset and not any(row.id in self._rows for row in rows) and rows:
            self._end("the pages of the list moved while they were read")
            return
        if self.offset and not rows and total is not None and len(self._rows) < total:
            self._end("the pages of the list moved while they were read")
            return
        self._take(rows)
        end = self.offset + len(rows)
        if not rows or (total is not None and end >= total):
            self.is_whole = total is None or len(self._rows) >= total
            self._end("" if self.is_whole else "the list has fewer rows than it says")
        elif self._has_reached_floor(rows):
            self._end("")
        elif len(self._rows) >= MAX_ROWS:
            self._end(f"the list has more than {MAX_ROWS} rows since then")
        else:
            self.offset += max(1, len(rows) - min(self.overlap, max(1, len(rows) // 4)))

    @property
    def rows(self) -> tuple[UsageRow, ...]:
        """The rows read so far, whatever the reading proves."""
        return tuple(self._rows.values())

    def result(self) -> CompleteReading | None:
        """What was read; None while it is under way, or if it is void."""
        if not self.is_done or self.void:
            return None
        return CompleteReading(self.started_at, tuple(self._rows.values()), self.is_whole)

    def _take(self, rows: Sequence[UsageRow]) -> None:
        for row in rows:
            is_new = row.id not in self._rows
            if is_new and self._last_id is not None and row.id > self._last_id:
                self._is_descending = False
            if is_new:
                self._last_id = row.id
            self._rows[row.id] = row

    def _has_reached_floor(self, rows: Sequence[UsageRow]) -> bool:
        times = [row.created_at for row in rows]
        known = [at for at in times if at is not None]
        return self._is_descending and len(known) == len(times) and min(known) < self.floor_at

    def _end(self, void: str) -> None:
        self.is_done, self.void = True, void


def agree(first: CompleteReading, second: CompleteReading) -> bool:
    """Whether two readings in a row show the same rows, as far as both reach.

    Rows that are newer than the first reading are not compared: they are in the second.
    """
    low = max(0 if first.is_whole else first.lowest_id, 0 if second.is_whole else second.lowest_id)
    return _ids(first, low, first.highest_id) == _ids(second, low, first.highest_id)


def _ids(reading: CompleteReading, low: int, high: int) -> set[int]:
    return {row.id for row in reading.rows if low <= row.id <= high}
