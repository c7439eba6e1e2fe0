"""Lanes, routes and scopes: what queues, rate limits and holds apply to."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NewType

from jobs.states import Kind

JobId = NewType("JobId", str)
"""Unique in a namespace: chosen by the app (its idempotency key), or generated, like a ULID."""

Scope = NewType("Scope", str)
"""`account`, `account/kind` (a route) or `account/kind/target` (a lane)."""

JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
"""The characters of a job id, which becomes part of keys, URLs and arq ids."""

TARGET: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?")
"""Slugs and internal names: lowercase letters, digits, hyphens (provider's documentation)."""

ACCOUNT_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
"""Account labels. `config.values` repeats the rule for settings: it imports nothing of ours."""

PRIORITY_SPAN: Final = 100
"""Priorities go from -100 to 100; a higher one goes first."""

AGING_S: Final = 3_600.0
"""Seconds of age that outweigh one step of priority: a job goes before those of the next higher
priority that were queued an hour later, so that no job starves."""

_TICKS_PER_S: Final = 4_096
"""Resolution of the age in a queue score. Until the year 2242 such a tick count (244 µs each)
leaves eight bits of a double's mantissa."""

_PRIORITY_STEPS: Final = 256
"""Those eight bits hold the priority."""

_KEYED_OFFSET: Final = float(2**45)
"""Scores of jobs with a fair key are lower by this. In a lane they come before the others, so its
first score tells whether it has any, and the others are a range of their own. Such a score is
exact, too: it has no more digits than one without."""

MIN_KEYLESS_SCORE: Final = -float(2**44)
"""Until the year 2106 all scores of jobs without a fair key are above, and all others below."""


def target_name(kind: str, target: str) -> str:
    """A target on any account, as `model/gpt-image-2`."""
    return f"{kind}/{target}"


@dataclass(frozen=True, slots=True)
class Lane:
    """One queue: account, kind and target. Written `default/model/gpt-image-2`."""

    account: str
    kind: Kind
    target: str
    _text: str = field(init=False, repr=False, compare=False)
    """The written form, built once: it is needed often."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_text", f"{self.account}/{target_name(self.kind, self.target)}")

    def __str__(self) -> str:
        return self._text

    def __hash__(self) -> int:
        return hash(self._text)

    @property
    def route(self) -> Scope:
        """The account and kind, whose rate limit the submits of the lane share."""
        return Scope(f"{self.account}/{self.kind}")

    @property
    def scopes(self) -> tuple[Scope, Scope, Scope]:
        """Every scope that covers this lane, the widest first."""
        return Scope(self.account), self.route, Scope(str(self))

    @classmethod
    def parse(cls, text: str) -> "Lane":
        """Read `account/kind/target`; raises ValueError for anything else."""
        account, kind, target = text.split("/")
        return cls(account, Kind(kind), target)


def cap_of_lane(caps: Mapping[str, int], lane: Lane) -> int | None:
    """How many jobs of a lane may be active at once (see `jobs.states.ACTIVE`); None: no cap.

    `caps` are by scope. The narrowest scope that covers the lane applies; `*` covers every lane.
    """
    for scope in (*reversed(lane.scopes), "*"):
        if scope in caps:
            return caps[scope]
    return None


def parse_scope(text: str) -> Scope:
    """Read a scope that an operator typed; raises ValueError with a message for the operator."""
    parts = text.split("/")
    patterns = (ACCOUNT_LABEL, re.compile("|".join(Kind)), TARGET)
    if len(parts) > len(patterns) or not all(
        pattern.fullmatch(part) for pattern, part in zip(patterns, parts, strict=False)
    ):
        raise ValueError(
            f"{text!r} is not a scope: write `account`, `account/model`, `account/workflow` "
            "or `account/model/target`, e.g. default/model/gpt-image-2",
        )
    return Scope(text)


def is_target_scope(scope: Scope) -> bool:
    """Whether a scope is one target, as `default/model/gpt-image-2`; not a route or an account."""
    return scope.count("/") > 1


def covers(scope: Scope, lane: Lane) -> bool:
    """Whether a hold or cool-down of `scope` applies to `lane`."""
    return scope in lane.scopes


def polls_scope(account: str) -> Scope:
    """The scope of an account's polls: a route of its own, which is not a lane."""
    return Scope(f"{account}/executions")


def usage_scope(account: str) -> Scope:
    """The scope of an account's reads of its usage: a route of its own, which is not a lane."""
    return Scope(f"{account}/usage")


def queue_score(priority: int, queued_at: float) -> float:
    """The score of a queued job in its lane, lowest first: its age, shifted by its priority.

    `queued_at` is in Unix seconds, exact to 244 µs. One step of priority shifts by `AGING_S`. Jobs
    with the same shifted time are ordered by priority.
    """
    ticks = round((queued_at - priority * AGING_S) * _TICKS_PER_S)
    return ticks + (PRIORITY_SPAN - priority) / _PRIORITY_STEPS


def keyed_score(score: float) -> float:
    """The score in its lane of a job with a fair key, which has `score` among those of its key."""
    return score - _KEYED_OFFSET


def has_fair_key(score: float) -> bool:
    """Whether a score in a lane is one of a job with a fair key."""
    return score < MIN_KEYLESS_SCORE


def priority_of(score: float) -> int:
    """The priority that a queue score was made from."""
    return PRIORITY_SPAN - round((score - math.floor(score)) * _PRIORITY_STEPS)


def queued_at_of(score: float) -> float:
    """The `queued_at` that a queue score was made from, in Unix seconds."""
    score += _KEYED_OFFSET if has_fair_key(score) else 0.0
    return math.floor(score) / _TICKS_PER_S + priority_of(score) * AGING_S
