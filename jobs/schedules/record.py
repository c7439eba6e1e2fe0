"""A schedule as people set it, and what became of ticks that made no job."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from jobs.lanes import Lane
from jobs.newer import NEWER_SCHEMA
from jobs.states import Kind
from jobs.tenants import TENANT, TENANT_MARK, app_job_id

ID_PREFIX: Final = "schedule"
"""The ids of a schedule's jobs begin so."""


SCHEDULE_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
"""The name of a schedule, as the tokens of its tenant know it."""

STORED_SCHEDULE_NAME: Final = re.compile(
    f"(?:{TENANT.pattern}{TENANT_MARK})?{SCHEDULE_NAME.pattern}"
)
"""A name as it is stored: of any tenant, or of none."""


class Overlap(StrEnum):
    """What becomes of a tick while an earlier run of its schedule is not finished."""

    SKIP = "skip"
    """It is left out. A parked run does not count: it may wait for a person for days."""
    ENQUEUE = "enqueue"


class CatchUp(StrEnum):
    """What becomes of ticks that no worker saw in time."""

    NONE = "none"
    LAST = "last"
    """The last one of them makes a job."""
    ALL = "all"
    """Each makes a job, the newest ones first to be kept, see `jobs.schedules.due`."""


class SkipCause(StrEnum):
    """Why a tick made no job."""

    OVERLAP = "overlap"
    """An earlier run was not finished."""
    MISSED = "missed"
    """No worker was there in time, and `catch_up` leaves it out."""
    REFUSED = "refused"
    """Its job was refused, as an enqueue of it would be."""
    ID_TAKEN = "id_taken"
    """A job with the id of the tick exists."""


class ScheduleChange(StrEnum):
    """What the event stream says of a schedule."""

    SET = "set"
    REMOVED = "removed"
    ENABLED = "enabled"
    DISABLED = "disabled"
    OVERLAP = "overlap"
    """A tick was left out, as the next ones with the same names."""
    MISSED = "missed"
    REFUSED = "refused"
    ID_TAKEN = "id_taken"


class Schedule(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """A job that is enqueued again and again. Times are Unix seconds."""

    name: str
    """As it is stored: `<tenant>~<name>`, or the name alone."""
    cron: str
    time_zone: str
    """An IANA name."""
    job: dict[str, Any]
    """The members of the job request as they were sent, without the inputs."""
    overlap: Overlap
    catch_up: CatchUp
    enabled: bool
    since: float
    """When cron, time zone or `enabled` were set last: no tick up to then makes a job."""
    set_at: float
    set_by: str
    note: str = ""
    counted_for: str = ""
    """The token whose limit of open jobs counts its jobs; empty for none."""
    revision: int = 0
    """Another one after each change. Stored before the record, not in it."""
    error: str = ""
    """Why its record cannot be read; it makes no jobs then. Never stored."""

    @property
    def is_newer(self) -> bool:
        """Whether a newer version wrote its record, so that this one leaves it alone."""
        return self.error.startswith(NEWER_SCHEMA)

    @property
    def lane(self) -> Lane:
        """Where its jobs queue."""
        account = str(self.job.get("account") or "default")
        return Lane(account, Kind(self.job["kind"]), str(self.job["target"]))


def starts_anew(before: Schedule | None, after: Schedule) -> bool:
    """Whether ticks up to now make no job any more: it is new, or its ticks are others."""
    return before is None or (before.cron, before.time_zone, before.enabled, before.error) != (
        after.cron,
        after.time_zone,
        after.enabled,
        "",
    )


class Skip(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last ticks of a schedule that made no job, for one cause."""

    cause: SkipCause
    tick: int
    """The last of them, Unix seconds."""
    at: float
    """When that was decided, Unix seconds."""
    count: int = 1
    """How many; at least so many, where it is `due.MAX_COUNTED`."""
    message: str = ""
    """What a person should know: the field that was refused, or the job that is in the way."""


def tick_job_id(stored_name: str, tick: int) -> str:
    """The id of the job of a tick, as an app of its tenant knows it.

    >>> tick_job_id("studio~nightly", 1_774_749_600)
    'schedule:nightly:20260329T020000Z'
    """
    moment = datetime.fromtimestamp(tick, UTC)
    return f"{ID_PREFIX}:{app_job_id(stored_name)}:{moment:%Y%m%dT%H%M%SZ}"


def run_job_id(stored_name: str, key: str) -> str:
    """The id of a job that a person started, with a key of that start.

    >>> run_job_id("nightly", "7f3a")
    'schedule:nightly:run:7f3a'
    """
    return f"{ID_PREFIX}:{app_job_id(stored_name)}:run:{key}"
