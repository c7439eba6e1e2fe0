"""The arq entries of jobs that are admitted together."""

from collections.abc import Sequence
from typing import Final

from worker.clock import MAX_CLOCK_OFF_S
from worker.store.arq_codec import submit_entry
from worker.store.side_writes import ArqWakeup

MAX_JOBS_PER_ENTRY: Final = 32
"""Jobs of one arq entry; all of them go to one worker."""

ENTRY_TTL_MS: Final = 86_400_000
"""arq's entries expire after a day; the rescuer returns their jobs long before."""


def arq_entries(submits: Sequence[tuple[str, str]], now: float) -> list[ArqWakeup]:
    """The entries for `(job id, submit token)` pairs.

    arq compares their times with the machine's clock: they are due for each that may send.
    """
    batches = [
        submits[first : first + MAX_JOBS_PER_ENTRY]
        for first in range(0, len(submits), MAX_JOBS_PER_ENTRY)
    ]
    entries = [submit_entry(batch, now) for batch in batches]
    due_ms = int((now - MAX_CLOCK_OFF_S) * 1000)
    return [ArqWakeup(arq_id, data, due_ms, ENTRY_TTL_MS) for arq_id, data in entries]
