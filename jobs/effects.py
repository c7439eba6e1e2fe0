"""What decisions are made of: the rules and the moment they are made by, what they bring about."""

from dataclasses import dataclass, field

import msgspec

from jobs.backoff import Backoff
from jobs.error_table import ErrorTable
from jobs.holds import CoolDown, Hold
from jobs.job import Job
from jobs.lanes import Lane
from jobs.polling.schedules import PollSchedule


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """The settings that decisions depend on."""

    error_table: ErrorTable = field(default_factory=lambda: ErrorTable(overrides={}))
    backoff: Backoff = field(default_factory=Backoff)
    poll_schedule: PollSchedule = field(default_factory=PollSchedule)
    max_missing_polls: int = 5
    """Polls answered 404 in a row before the job parks as `uncertain`."""
    sync_only_memory_s: float = 86_400.0
    """How long a target is remembered as having no async mode."""
    base_url: str = "https://knouds.ai"


class DecisionContext(msgspec.Struct, frozen=True, gc=False):
    """When a decision is made, its dice already thrown, and under which rules."""

    now: float
    jitter: float
    """Uniform in [0, 1)."""
    rules: DecisionRules


@dataclass(frozen=True, slots=True)
class PlaceHold:
    """Effect: a hold has to stand, or was hit again."""

    hold: Hold


@dataclass(frozen=True, slots=True)
class StartCoolDown:
    """Effect: a scope has to wait."""

    cool_down: CoolDown


@dataclass(frozen=True, slots=True)
class RememberSyncOnly:
    """Effect: the lane's target has no async mode until then."""

    lane: Lane
    until: float


@dataclass(frozen=True, slots=True)
class HoldOpened:
    """Effect: a submit was accepted through holds that are opening."""

    hold_ids: tuple[str, ...]


Effect = PlaceHold | StartCoolDown | RememberSyncOnly | HoldOpened


@dataclass(frozen=True, slots=True)
class Decision:
    """The job's next version, and what else has to happen once it is committed."""

    job: Job
    effects: tuple[Effect, ...] = ()
    result: bytes | None = field(default=None, repr=False)
    """The result to keep, JSON text."""
    submit_sync: bool = False
    """Submit again at once, sync, as the same attempt; `job` is unchanged."""


class PollHistory(msgspec.Struct, frozen=True, gc=False):
    """What earlier polls of the present attempt saw."""

    polls: int = 0
    failures_in_row: int = 0
    """Polls in a row that did not get through."""
    missing_in_row: int = 0
    """Polls in a row answered 404."""
    last_running_at: float | None = None
    """When a poll last found it running, Unix seconds."""


class PollLater(msgspec.Struct, frozen=True, gc=False):
    """The job stays as it is; its next poll comes at `at`."""

    at: float
    history: PollHistory
    effects: tuple[Effect, ...] = ()
