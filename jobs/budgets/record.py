"""A budget as people set it: so many credits for a scope, by day, by month or in total."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from jobs.batches import batch_of
from jobs.credits.charges import micro_credits
from jobs.job import Job
from jobs.lanes import Scope, parse_scope
from jobs.newer import NEWER_SCHEMA

MIN_LIMIT: Final = 0.000_001
"""The smallest limit in credits: sums are kept in millionths."""

TAG: Final = "tag:"
BATCH: Final = "batch:"


class BudgetPeriod(StrEnum):
    """How long a budget lasts before it starts anew."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"
    """It never starts anew."""


class Budget(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """A limit in credits. Times are Unix seconds."""

    name: str
    scope: str
    """An account, a route, a target, `tag:x` or `batch:x`."""
    period: BudgetPeriod
    limit: float
    """Credits, more than 0."""
    time_zone: str = "UTC"
    """An IANA name: days and months begin at midnight there."""
    generation: int
    """Another one where scope, period or time zone were changed: what is spent counts anew."""
    set_at: float
    set_by: str
    note: str = ""
    is_counting: bool = True
    """What was in flight when it was set is not counted yet, so nothing is admitted."""
    error: str = ""
    """Why its record cannot be read; it then stops every job of its scope. Never stored."""

    @property
    def is_newer(self) -> bool:
        """Whether a newer version wrote its record, so that this one leaves it alone."""
        return self.error.startswith(NEWER_SCHEMA)

    @property
    def limit_micro(self) -> int:
        """The limit in millionths of a credit; 0 if it is not to be believed."""
        return micro_credits(self.limit) or 0

    @property
    def is_for_lanes(self) -> bool:
        """Whether it is for an account, route or target, and not for a tag or batch."""
        return is_lane_scope(self.scope)


def is_lane_scope(scope: str) -> bool:
    """Whether a scope of a budget is an account, a route or a target."""
    return not scope.startswith((TAG, BATCH))


def budget_scopes(job: Job) -> Iterator[str]:
    """Every scope of a budget that applies to a job."""
    yield from job.lane.scopes
    for tag in job.tags:
        yield TAG + tag
    if (batch := batch_of(job)) is not None:
        yield BATCH + batch


def parse_budget_scope(text: str) -> str:
    """Read a scope that an operator typed; raises ValueError with a message for the operator."""
    for prefix in (TAG, BATCH):
        if text.startswith(prefix):
            if not text.removeprefix(prefix).strip():
                raise ValueError(f"{text!r} names no {prefix[:-1]}: write {prefix}NAME")
            return text
    try:
        return Scope(parse_scope(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is not a scope: write an account, `account/model`, `account/workflow`, "
            "`account/model/target`, `tag:NAME` or `batch:NAME`"
        ) from None
