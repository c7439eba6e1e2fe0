"""Which rows of the provider's list are the runs of attempts whose cost is not known yet.

A row with the request id of an attempt is its run. Attempts without one (a sync run that failed, a
submit whose answer was lost) share out the rows that no request id explains, each row to one run of
the same target and time. Where several fit, the sums of their account, target and day are right
whichever is whose.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from jobs.credits.closing import awaits_cost
from jobs.evidence.matching import MAX_EDGES, maximum_matching
from jobs.evidence.reading import UsageReading
from jobs.evidence.runs import RunCertainty, RunOnRecord, agrees
from jobs.job import Attempt, Job
from jobs.states import Mode
from jobs.usage import UsageRow

PROCESSING: Final = "processing"
CLOCK_MARGIN_S: Final = 60.0
"""How far the provider's clock may be from ours."""

CHECK_AGAIN_S: Final = 60.0
MAX_CHECK_S: Final = 6 * 3_600.0
"""Shortest and longest pause until the list is read again for an attempt that it does not have."""

GIVE_UP_S: Final = 7 * 86_400.0
"""From the end of an attempt until its estimate stays."""

CostKey = tuple[str, int]
"""A job id and the number of an attempt."""

_ORDER: Final = {
    RunCertainty.CERTAIN: 0,
    RunCertainty.UNDER_WAY: 1,
    RunCertainty.UNCERTAIN: 2,
    RunCertainty.POSSIBLE: 3,
    RunCertainty.NAMED: 4,
}
"""The surer it is that a run has a row, the earlier it gets one."""


def named_costs(job: Job, rows: Mapping[str, UsageRow]) -> dict[int, float]:
    """The credits of attempts by number, from rows with their request ids; `rows`: by that id."""
    found: dict[int, float] = {}
    for attempt in job.attempts:
        row = rows.get(attempt.request_id or "")
        if row is not None and awaits_cost(attempt) and (credit := credits_of_row(row)) is not None:
            found[attempt.number] = credit
    return found


def unnamed_attempts(job: Job) -> list[Attempt]:
    """The attempts whose cost is not known yet, and that no request id names."""
    return [a for a in job.attempts if awaits_cost(a) and a.request_id is None]


def has_shown_its_row(
    attempt: Attempt, reading: UsageReading, grace_s: float, sync_timeout_s: float
) -> bool:
    """Whether a complete reading shows the row of an attempt if there is one.

    It reaches back to the attempt, and began once its row had appeared: that of a sync run whose
    answer was lost may come with its end, however early that was.
    """
    may_run_until = attempt.ended_at or attempt.started_at
    was_answered = attempt.http_status is not None and not attempt.is_uncertain
    if attempt.mode is Mode.SYNC and not was_answered:
        may_run_until = max(may_run_until, attempt.started_at + sync_timeout_s)
    reaches_back = reading.is_whole or reading.floor_at <= attempt.started_at - CLOCK_MARGIN_S
    return reaches_back and may_run_until + grace_s <= reading.started_at


def unnamed_costs(
    runs: Sequence[RunOnRecord], rows: Sequence[UsageRow]
) -> dict[CostKey, float | None]:
    """The credits of each run that no request id names; None where its row does not tell yet.

    `runs`: every run on record that may have a row of `rows`. One without a row cost nothing. No
    costs where too many rows and runs fit each other to tell them apart.
    """
    shared = shared_out(runs, rows)
    if shared is None:
        return {}
    return {key: 0.0 if row is None else credits_of_row(row) for key, row in shared.items()}


def shared_out(
    runs: Sequence[RunOnRecord], rows: Sequence[UsageRow]
) -> dict[CostKey, UsageRow | None] | None:
    """The row of each run that no request id names, None for one without; see `unnamed_costs`.

    None if too many rows and runs fit each other.
    """
    own = {run.request_id for run in runs if run.request_id is not None}
    spare = sorted(
        (row for row in rows if row.request_id is None or row.request_id not in own), key=_time
    )
    claimants = sorted(
        (run for run in runs if run.request_id is None),
        key=lambda run: (_ORDER[run.certainty], run.sent_at),
    )
    edges = _edges(spare, claimants)
    if edges is None:
        return None
    found: dict[CostKey, UsageRow | None] = {(run.job_id, run.number): None for run in claimants}
    for row, claimant in maximum_matching(edges, range(len(claimants))).items():
        run = claimants[claimant]
        found[run.job_id, run.number] = spare[row]
    return found


def credits_of_row(row: UsageRow) -> float | None:
    """What a run cost, once its row says that it has ended."""
    return None if row.status == PROCESSING else row.credits


def next_check_at(job: Job, now: float) -> float | None:
    """When to read the list again for attempts that it does not tell the cost of yet.

    None once that has been tried for long enough.
    """
    ended = [attempt.ended_at or now for attempt in job.attempts if awaits_cost(attempt)]
    oldest_s = now - min(ended, default=now)
    if oldest_s >= GIVE_UP_S:
        return None
    return now + min(MAX_CHECK_S, max(CHECK_AGAIN_S, oldest_s / 4))


def _edges(rows: Sequence[UsageRow], runs: Sequence[RunOnRecord]) -> list[list[int]] | None:
    """For each run the numbers of the rows that may be its; None if these are too many."""
    times = [_time(row) for row in rows]
    found: list[list[int]] = []
    left = MAX_EDGES
    for run in runs:
        ended_at = run.ended_at if run.ended_at is not None else run.sent_at
        first = bisect_left(times, run.sent_at - CLOCK_MARGIN_S)
        last = bisect_right(times, ended_at + CLOCK_MARGIN_S)
        left -= last - first
        if left < 0:
            return None
        found.append([number for number in range(first, last) if _may_be(rows[number], run)])
    return found


def _time(row: UsageRow) -> float:
    """When a row was created; one that does not say so belongs to no run."""
    return row.created_at if row.created_at is not None else -math.inf


def _may_be(row: UsageRow, run: RunOnRecord) -> bool:
    is_same_target = not row.targets or run.target in row.targets
    is_same_kind = row.kind is None or row.kind is run.kind
    return is_same_kind and is_same_target and agrees(row, run)
