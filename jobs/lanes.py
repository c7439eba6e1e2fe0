"""Lanes, routes and scopes: the addresses that queues, limits and holds speak about."""

import math
import re
from dataclasses import dataclass, field
from typing import Final, NewType

from jobs.states import Kind

JobId = NewType("JobId", str)
"""Unique in a namespace: chosen by the app (its idempotency key), or a ULID-like one of ours."""

Scope = NewType("Scope", str)
"""`account`, `account/kind` (a route) or `account/kind/target` (a lane)."""

JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
"""Job ids are part of keys, URLs and arq ids, so they are kept plain."""

TARGET: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?")
"""Slugs and internal names: lowercase letters, digits, hyphens (provider's documentation)."""

ACCOUNT_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
"""Account labels."""

PRIORITY_SPAN: Final = 100
"""Priorities go from -100 to 100, higher first."""

AGING_S: Final = 3_600.0
"""What a step of priority is worth: a job passes those of the next priority that came an hour
after it, so nobody is starved for ever."""

_TICKS_PER_S: Final = 4_096
"""A place in line counts in ticks of 244 µs: until the year 2242 they leave a double eight bits."""

_PRIORITY_STEPS: Final = 256
"""Those eight bits tell the priority."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One queue: account, kind and target. Written `default/model/gpt-image-2`."""

    account: str
    kind: Kind
    target: str
    _text: str = field(init=False, repr=False, compare=False)
    """As it is written; made once, for lanes are asked for it all the time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_text", f"{self.account}/{self.kind}/{self.target}")

    def __str__(self) -> str:
        return self._text

    def __hash__(self) -> int:
        return hash(self._text)

    @property
    def route(self) -> Scope:
        """The account and route whose rate limit the lane's submits share."""
        return Scope(f"{self.account}/{self.kind}")

    @property
    def scopes(self) -> tuple[Scope, Scope, Scope]:
        """Every scope that covers this lane, widest first."""
        return Scope(self.account), self.route, Scope(str(self))

    @classmethod
    def parse(cls, text: str) -> "Lane":
        """Read `account/kind/target`; raises ValueError when it is not one."""
        account, kind, target = text.split("/")
        return cls(account, Kind(kind), target)


def parse_scope(text: str) -> Scope:
    """Read a scope a person wrote; raises ValueError that says what a scope looks like."""
    parts = text.split("/")
    shapes = (ACCOUNT_LABEL, re.compile("|".join(Kind)), TARGET)
    if len(parts) > len(shapes) or not all(
        shape.fullmatch(part) for shape, part in zip(shapes, parts, strict=False)
    ):
        raise ValueError(
            f"{text!r} is not a scope: write `account`, `account/model`, `account/workflow` "
            "or `account/model/target`, e.g. default/model/gpt-image-2",
        )
    return Scope(text)


def covers(scope: Scope, lane: Lane) -> bool:
    """Whether a hold, pause or cool-down of `scope` closes `lane`."""
    return scope in lane.scopes


def polls_scope(account: str) -> Scope:
    """The scope of an account's polls: a route of its own, never a lane."""
    return Scope(f"{account}/executions")


def queue_score(priority: int, queued_at: float) -> float:
    """The score of a queued job in its lane, lowest first: by age, a step of priority an hour.

    `queued_at` in Unix seconds, exact to 244 µs. Jobs of the same tick stand by priority.
    """
    ticks = round((queued_at - priority * AGING_S) * _TICKS_PER_S)
    return ticks + (PRIORITY_SPAN - priority) / _PRIORITY_STEPS


def priority_of(score: float) -> int:
    """The priority of a job from its place in line."""
    return PRIORITY_SPAN - round((score - math.floor(score)) * _PRIORITY_STEPS)


def queued_at_of(score: float) -> float:
    """Since when a job is in line, from its place in it."""
    return math.floor(score) / _TICKS_PER_S + priority_of(score) * AGING_S
