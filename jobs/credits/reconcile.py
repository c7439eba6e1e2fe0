"""Compares the ledger's charges with the provider's list of runs, run by run."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from jobs.credits.rows import CostKey, credits_of_row, shared_out
from jobs.evidence.runs import RunCertainty, RunOnRecord
from jobs.usage import UsageRow

SAME: Final = 1e-6
"""Credits below which two costs are the same."""


class DifferenceKind(StrEnum):
    """How a run differs between the ledger and the provider's list."""

    FOREIGN_ROW = "foreign_row"
    """The list has a row that no run on record explains: another program, or the dashboard."""
    MISSING_ROW = "missing_row"
    """A run on record has no row."""
    OTHER_COST = "other_cost"
    """Both have the run, with different costs."""
    NOT_READ_YET = "not_read_yet"
    """The ledger has an estimate, and the list tells the cost: the cost reader comes to it."""
    NOT_RESOLVED = "not_resolved"
    """The outcome of the run is unknown, so nothing is booked, and the list tells its cost."""


class Difference(NamedTuple):
    """One run that differs. Amounts are credits; None where one side has none."""

    kind: DifferenceKind
    ours: float | None
    theirs: float | None
    job_id: str = ""
    attempt: int = 0
    request_id: str = ""
    row: int | None = None
    target: str = ""


class Reconciliation(NamedTuple):
    """What a comparison found."""

    runs: int
    """Runs on record that may have a row."""
    rows: int
    ours: float
    """Credits of the runs whose cost the ledger knows."""
    theirs: float
    """Credits of all rows that have ended."""
    differences: list[Difference]
    is_ambiguous: bool
    """Too many rows and runs without a request id fit each other: these were not compared."""


def reconcile(
    runs: Sequence[RunOnRecord], rows: Sequence[UsageRow], due_by: float
) -> Reconciliation:
    """Name each difference between runs on record and rows of the same time.

    `due_by`: a run that was sent later may not have its row yet, Unix seconds.
    """
    shared = shared_out(runs, rows)
    row_of: dict[CostKey, UsageRow | None] = dict(shared or {})
    by_request = {row.request_id: row for row in rows if row.request_id is not None}
    for run in runs:
        if run.request_id is not None:
            row_of[run.job_id, run.number] = by_request.get(run.request_id)
    explained = {row.id for row in row_of.values() if row is not None}
    found: list[Difference] = []
    for run in runs:
        key = (run.job_id, run.number)
        if key in row_of:
            found += _of_run(run, row_of[key], due_by)
    if shared is not None:
        found += _foreign(rows, explained)
    return Reconciliation(
        runs=len(runs),
        rows=len(rows),
        ours=sum(run.credits or 0.0 for run in runs),
        theirs=sum(credits_of_row(row) or 0.0 for row in rows),
        differences=found,
        is_ambiguous=shared is None,
    )


def _of_run(run: RunOnRecord, row: UsageRow | None, due_by: float) -> Iterator[Difference]:
    if row is None:
        must_have_row = run.certainty in (RunCertainty.NAMED, RunCertainty.CERTAIN)
        if must_have_row and run.sent_at <= due_by:
            yield _difference(DifferenceKind.MISSING_ROW, run, None)
        return
    theirs = credits_of_row(row)
    if theirs is None or run.certainty is RunCertainty.UNDER_WAY:
        return
    if run.awaits_cost:
        yield _difference(DifferenceKind.NOT_READ_YET, run, row)
    elif abs((run.credits or 0.0) - theirs) > SAME:
        kind = DifferenceKind.NOT_RESOLVED if _waits(run) else DifferenceKind.OTHER_COST
        yield _difference(kind, run, row)


def _waits(run: RunOnRecord) -> bool:
    """Whether an operator or a finding is to decide what became of it; it is not booked yet."""
    return run.certainty is RunCertainty.UNCERTAIN and run.credits is None


def _foreign(rows: Sequence[UsageRow], explained: set[int]) -> Iterator[Difference]:
    for row in rows:
        if row.id not in explained:
            yield Difference(
                DifferenceKind.FOREIGN_ROW,
                ours=None,
                theirs=credits_of_row(row),
                request_id=row.request_id or "",
                row=row.id,
                target=", ".join(row.targets),
            )


def _difference(kind: DifferenceKind, run: RunOnRecord, row: UsageRow | None) -> Difference:
    return Difference(
        kind,
        ours=run.credits,
        theirs=None if row is None else credits_of_row(row),
        job_id=run.job_id,
        attempt=run.number,
        request_id=run.request_id or (row.request_id if row is not None else None) or "",
        row=None if row is None else row.id,
        target=run.target,
    )
