"""The turns of fair keys: a sorted set for each lane whose jobs wait by key, see `jobs.fairness`.

Its members are the keys that have jobs waiting, by the time of their last turn, or of their first
job; the one that waits longest is next. A key at its cap has the score `AT_CAP`. It is there only
while jobs with a key wait: a lane without any has no such set, and costs nothing.
"""

from typing import Final

from jobs.fairness import KEYLESS, FairTurn, fair_key_of, key_queue_name
from jobs.indexes import Index, waits_in_lane
from jobs.job import Job
from jobs.states import ACTIVE
from worker.store.client import CommitOperation
from worker.store.keys import Keys

NO_TURN: Final = ""
"""In place of the time of a turn: none is taken."""


def turn_operations(
    keys: Keys, old: Job | None, new: Job | None, turn: FairTurn | None = None
) -> list[CommitOperation]:
    """What a change of a job does to the turns of its lane. None: the job is new, or deleted.

    The first waiting job of a key lets it join behind all others; the last one that leaves takes it
    away. The end of a run gives a key that was at its cap a turn again.
    """
    job = new or old
    if job is None or (job.fair_key is None and turn is None):
        return []
    lane, key = job.lane, fair_key_of(job)
    turns, at, cap = keys.key_turns(str(lane)), NO_TURN if turn is None else turn.at, 0
    if key == KEYLESS:
        return [("T", turns, *(keys.lane(lane),) * 2, KEYLESS, at, cap)]
    found: list[CommitOperation] = []
    if _waits(new) and not _waits(old):
        found += [("N", turns, job.updated_at, key), ("N", turns, job.updated_at, KEYLESS)]
    name, cap = key_queue_name(lane, key), 0 if turn is None else turn.cap
    if _waits(old) and not _waits(new):
        sets = (keys.index(Index.KEY_QUEUE, name), keys.index(Index.KEY_ACTIVE, name))
        found.append(("T", turns, *sets, key, at, cap))
    if _is_active(old) and not _is_active(new):
        found.append(("U", turns, job.updated_at, key))
    return found


def _waits(job: Job | None) -> bool:
    return job is not None and waits_in_lane(job)


def _is_active(job: Job | None) -> bool:
    return job is not None and job.state in ACTIVE
