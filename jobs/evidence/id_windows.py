"""Between which rows that of a submit has to be: the ids of rows grow in the order they appear."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from jobs.evidence.runs import RunOnRecord


class IdWindows:
    """The rows of runs on record, to tell which rows came before and after a time.

    `shown`: runs with the id of their row. Neither names nor times of rows count.
    """

    def __init__(self, shown: Iterable[tuple[RunOnRecord, int]]) -> None:
        rows = list(shown)
        ended = sorted((run.ended_at, row) for run, row in rows if run.ended_at is not None)
        sent = sorted((run.sent_at, row) for run, row in rows)
        self._ended_at = [at for at, _ in ended]
        self._highest = list(accumulate((row for _, row in ended), max))
        self._sent_at = [at for at, _ in sent]
        self._lowest = list(accumulate((row for _, row in reversed(sent)), min))[::-1]

    def between(self, before: float, after: float) -> tuple[float, float]:
        """The ids between which rows appeared in a time, exclusive; infinite where unknown.

        The rows of runs that ended by `before` were there, those of runs that were sent from
        `after` on were not.
        """
        return (
            _at(self._highest, bisect_right(self._ended_at, before) - 1, -math.inf),
            _at(self._lowest, bisect_left(self._sent_at, after), math.inf),
        )


def _at(values: Sequence[int], index: int, default: float) -> float:
    return values[index] if 0 <= index < len(values) else default
