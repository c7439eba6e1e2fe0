"""What decisions are made of: the rules and the moment they are made by, what they bring about."""

from dataclasses import dataclass, field

import msgspec

from jobs.backoff import Backoff
from jobs.error_table import Verdicts
from jobs.holds import CoolDown, Hold
from jobs.job import Job
from jobs.lanes import Lane
from jobs.polling.schedules import PollSchedule


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decisions depend on."""

    verdicts: Verdicts = field(default_factory=lambda: Verdicts(overrides={}))
    backoff: Backoff = field(default_factory=Backoff)
    schedule: PollSchedule = field(default_factory=PollSchedule)
    missing_limit: int = 5
    """Polls answered 404 in a row before the job parks as `uncertain`."""
    sync_memory_s: float = 86_400.0
    """How long a target is remembered as having no async mode."""
    base_url: str = "https://knouds.ai"


class Moment(msgspec.Struct, frozen=True, gc=False):
    """When a decision is made, its dice already thrown, and under which rules."""

    now: float
    jitter: float
    """Uniform in [0, 1)."""
    rules: Rules


@dataclass(frozen=True, slots=True)
class PutUp:
    """Effect: a hold has to stand, or was hit again."""

    hold: Hold


@dataclass(frozen=True, slots=True)
class Cool:
    """Effect: a scope has to wait."""

    cool_down: CoolDown


@dataclass(frozen=True, slots=True)
class RememberSync:
    """Effect: the lane's target has no async mode until then."""

    lane: Lane
    until: float


@dataclass(frozen=True, slots=True)
class Opened:
    """Effect: a submit was accepted through holds that are opening."""

    hold_ids: tuple[str, ...]


Effect = PutUp | Cool | RememberSync | Opened


@dataclass(frozen=True, slots=True)
class Decision:
    """The job's next version, and what else has to happen once it is committed."""

    job: Job
    effects: tuple[Effect, ...] = ()
    result: bytes | None = field(default=None, repr=False)
    """The result to keep, JSON text."""
    submit_sync: bool = False
    """Submit again at once, sync, as the same attempt; `job` is unchanged."""


class Looks(msgspec.Struct, frozen=True, gc=False):
    """What earlier polls of the present attempt saw."""

    polls: int = 0
    troubles: int = 0
    """Polls in a row that did not get through."""
    missing: int = 0
    """Polls in a row answered 404."""
    running_at: float | None = None
    """When a poll last found it running, Unix seconds."""


class LookAgain(msgspec.Struct, frozen=True, gc=False):
    """The job stays as it is; its next poll comes at `at`."""

    at: float
    looks: Looks
    effects: tuple[Effect, ...] = ()
