"""What was found in a cell of the table, and the file that keeps it between two runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

AIM_S = 5.0
"""Seconds within which it goes on, from when the server can serve."""


@dataclass(slots=True)
class CellFindings:
    """What the app and the provider counted. Times are seconds from when the server can serve."""

    server: str
    event: str
    needs: str = ""
    commit: str = ""
    load: float = 0.0
    """The machine's load average of the last minute, at the end."""
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list[str])
    """Acknowledged jobs without a record at the end, before the app enqueues them again."""
    lost_unconfirmed: int = 0
    """How many of them were acknowledged as unconfirmed."""
    paid_twice: list[str] = field(default_factory=list[str])
    other_inputs: list[str] = field(default_factory=list[str])
    started_early: int | None = None
    """Scheduled jobs that were started at once; None where none were scheduled."""
    answers: dict[str, int] = field(default_factory=dict[str, int])
    ready: dict[str, int] = field(default_factory=dict[str, int])
    refusals: dict[str, int] = field(default_factory=dict[str, int])
    without_retry_after: int = 0
    goes_on_s: float | None = None
    """Until an enqueue was acknowledged and a run started; None: one of them never came."""
    settled_s: float | None = None
    """Until every job had settled or was parked; None: not in time."""
    unsettled: dict[str, int] = field(default_factory=dict[str, int])
    parked: dict[str, int] = field(default_factory=dict[str, int])
    ended: list[str] = field(default_factory=list[str])
    """Processes that ended by themselves."""
    took: dict[str, float] = field(default_factory=dict[str, float])
    """Phase of the cell → its seconds."""
    trouble: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """The place in the table."""
        return self.server, self.event, self.needs

    @property
    def missed(self) -> list[str]:
        """Which aims the cell misses: nothing lost or paid wrongly, no 500, goes on in time."""
        late_s = self.goes_on_s or 0.0
        aims = {
            f"{len(self.lost) - self.lost_unconfirmed} lost": len(self.lost)
            > self.lost_unconfirmed,
            f"paid twice: {', '.join(self.paid_twice)}": self.paid_twice,
            f"other inputs: {', '.join(self.other_inputs)}": self.other_inputs,
            f"{self.started_early} started early": self.started_early,
            f"{self.answers.get('500')} answers of 500": self.answers.get("500"),
            f"ended by itself: {', '.join(self.ended)}": self.ended,
            self.trouble: self.trouble,
            "never goes on": self.goes_on_s is None,
            f"goes on after {late_s:.1f} s": late_s > AIM_S,
        }
        return [words for words, is_missed in aims.items() if is_missed]


def merge(path: Path, found: Sequence[CellFindings]) -> list[CellFindings]:
    """Add cells to those in a file, where they replace older ones of the same place."""
    cells: dict[tuple[str, str, str], CellFindings] = {}
    if path.exists():
        older = msgspec.json.decode(path.read_bytes(), type=list[CellFindings])
        cells = {one.key: one for one in older}
    cells |= {one.key: one for one in found}
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(cells.values()))))
    return list(cells.values())
