"""Log lines that anyone can cause: one per cause and period, with the number of those left out."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

PERIOD_S: Final = 10.0
MAX_CAUSES: Final = 256
"""Causes that are remembered; the oldest is forgotten first."""

MAX_CAUSE_CHARS: Final = 60
"""Of a message of the standard library, its begin is the cause: addresses and numbers follow."""


@dataclass(slots=True)
class _Cause:
    admitted_at: float
    omitted: int = 0


class RepeatedLines:
    """Admits the first line of a cause, and one per period after it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._causes: OrderedDict[Hashable, _Cause] = OrderedDict()

    def __len__(self) -> int:
        return len(self._causes)

    def admit(self, cause: Hashable) -> int | None:
        """How many lines were left out before this one; None: leave this one out, too."""
        now = self._clock()
        known = self._causes.get(cause)
        if known is not None and now < known.admitted_at + PERIOD_S:
            known.omitted += 1
            return None
        self._causes[cause] = _Cause(now)
        self._causes.move_to_end(cause)
        if len(self._causes) > MAX_CAUSES:
            self._causes.popitem(last=False)
        return known.omitted if known is not None else 0


REPEATED_LINES: Final = web.AppKey("repeated lines", RepeatedLines)


class RepeatedRecords(logging.Filter):
    """The same for loggers of libraries; the message says how many like it were left out."""

    def __init__(self, lines: RepeatedLines) -> None:
        super().__init__()
        self._lines = lines

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        first_line = str(record.msg).partition("\n")[0]
        cause = (record.name, record.levelno, first_line[:MAX_CAUSE_CHARS])
        omitted = self._lines.admit(cause)
        if omitted:
            record.msg = (
                f"{record.msg} ({omitted} more like it in the last {PERIOD_S:g} s or longer)"
            )
        return omitted is not None
