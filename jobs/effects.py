"""The inputs of a decision (rules, time, jitter) and its results (`Decision`, `PollLater`)."""

from dataclasses import dataclass, field, replace

import msgspec

from jobs.backoff import Backoff
from jobs.breakers import BreakerReport
from jobs.error_table import ErrorTable
from jobs.holds import CoolDown, Hold
from jobs.job import Job
from jobs.lanes import Lane
from jobs.polling.schedules import PollSchedule


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """The settings that decisions depend on. Durations are seconds."""

    error_table: ErrorTable = field(default_factory=ErrorTable)
    backoff: Backoff = field(default_factory=Backoff)
    poll_schedule: PollSchedule = field(default_factory=PollSchedule)
    max_missing_polls: int = 5
    """A job parks as `uncertain` after this many polls in a row that were answered 404."""
    sync_only_memory_s: float = 86_400.0
    """How long it is remembered that a target has no async mode."""
    outage_limit_s: float = 86_400.0
    """How long an outage of its target is borne until a job becomes a dead letter."""
    webhooks_arrive: bool = False
    """The run's end is announced by a webhook, and such webhooks arrive: it need not be polled."""
    base_url: str = ""
    """The provider's address, for links to pages where an operator acts."""


class DecisionContext(msgspec.Struct, frozen=True, gc=False):
    """When and by which rules a decision is made. `now` is in Unix seconds."""

    now: float
    jitter: float
    """Uniform in [0, 1)."""
    rules: DecisionRules


@dataclass(frozen=True, slots=True)
class PlaceHold:
    """Effect: place this hold, or count another hit of the one in its place."""

    hold: Hold


@dataclass(frozen=True, slots=True)
class StartCoolDown:
    """Effect: start a cool-down of a scope, or extend it."""

    cool_down: CoolDown


@dataclass(frozen=True, slots=True)
class RememberSyncOnly:
    """Effect: remember until `until` that the lane's target has no async mode."""

    lane: Lane
    until: float


@dataclass(frozen=True, slots=True)
class HoldOpened:
    """Effect: count an accepted submit in these opening holds."""

    hold_ids: tuple[str, ...]
    is_ended: bool = False
    """The submit was answered with the result, so that its run is not polled."""


Effect = PlaceHold | StartCoolDown | RememberSyncOnly | HoldOpened
"""What a decision changes beside the job. Effects are facts: a lost race does not undo them."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The job's next version, and what else changes."""

    job: Job
    effects: tuple[Effect, ...] = ()
    result: bytes | None = field(default=None, repr=False)
    """The result to store, as JSON text."""
    reports: tuple[BreakerReport, ...] = ()
    """What the outcome says about its account, route and lane; counted once."""
    job_in_outage: Job | None = None
    """The next version instead of `job`, if the breaker of its lane says, once it has counted the
    reports, that the failure belongs to an outage; None: no difference."""
    job_in_quiet_lane: Job | None = None
    """The same, if the breaker says that no other job of the lane has succeeded since the job's
    first failure."""
    submit_sync: bool = False
    """Submit again at once, sync, as the same attempt. `job` is unchanged."""


def with_reports(decision: Decision, *reports: BreakerReport) -> Decision:
    """The decision with more reports to the breakers."""
    return replace(decision, reports=(*decision.reports, *reports))


class PollHistory(msgspec.Struct, frozen=True, gc=False):
    """What the earlier polls of the current attempt found."""

    polls: int = 0
    failures_in_row: int = 0
    """Polls in a row that failed, up to the last one."""
    missing_in_row: int = 0
    """Polls in a row that were answered 404, up to the last one."""
    last_running_at: float | None = None
    """When a poll last found the run running, Unix seconds."""
    empty_in_row: int = 0
    """Polls in a row that found the run completed without a usable result, up to the last one."""
    empty_since: float | None = None
    """When the first of those was, Unix seconds."""
    failure: str = ""
    """Why the last poll said nothing; empty if it found the run running."""


class PollLater(msgspec.Struct, frozen=True, gc=False):
    """The job does not change; its next poll is due at `at` (Unix seconds)."""

    at: float
    history: PollHistory
    effects: tuple[Effect, ...] = ()
