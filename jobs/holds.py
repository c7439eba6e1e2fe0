"""Holds and cool-downs: closed gates, and how a released one opens gently."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from jobs.lanes import Lane, Scope, covers

FULLY_OPEN_STEP: Final = 64
"""When this many submits in a row were accepted in one step, the gate is gone."""

OPENING_QUIET_S: Final = 600.0
"""An opening gate of a quiet lane, where so many never come, is gone after this time."""


class HoldPhase(StrEnum):
    """How far a gate is open."""

    CLOSED = "closed"
    OPENING = "opening"


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gate over a scope, put up by a 401, 402 or 403, or by a person (`code` is `manual`)."""

    id: str
    scope: Scope
    code: str
    created_at: float
    phase: HoldPhase = HoldPhase.CLOSED
    http_status: int | None = None
    message: str = ""
    action: str = ""
    action_url: str | None = None
    created_by: str = ""
    note: str = ""
    hits: int = 1
    """Submits refused by what this hold stands for."""
    relapses: int = 0
    """How often it was released and refused again."""
    step: int = 0
    """While opening: how many submits may be under way at once (1, 2, 4, 8 …)."""
    accepted: int = 0
    """While opening: submits accepted in this step."""
    released_at: float | None = None
    released_by: str = ""

    @property
    def key(self) -> str:
        """One hold stands for one cause in one scope, however many jobs hit it."""
        return f"{self.scope}|{self.code}"


def apply_refusal(existing: Hold | None, new: Hold) -> Hold:
    """The hold after another refusal: put up, hit again, or back after a release (a relapse)."""
    if existing is None:
        return new
    relapsed = existing.phase is HoldPhase.OPENING
    return msgspec.structs.replace(
        existing,
        phase=HoldPhase.CLOSED,
        http_status=new.http_status,
        message=new.message,
        action=new.action,
        action_url=new.action_url,
        hits=existing.hits + 1,
        relapses=existing.relapses + relapsed,
        step=0,
        accepted=0,
    )


def apply_release(hold: Hold, now: float, *, by: str, note: str = "") -> Hold:
    """The hold after a person released it: it lets one canary through."""
    return msgspec.structs.replace(
        hold,
        phase=HoldPhase.OPENING,
        step=1,
        accepted=0,
        released_at=now,
        released_by=by,
        note=note or hold.note,
    )


def apply_accept(hold: Hold) -> Hold | None:
    """The hold after one of its submits was accepted; None when the gate is fully open."""
    if hold.phase is not HoldPhase.OPENING:
        return hold
    count = hold.accepted + 1
    if count < hold.step:
        return msgspec.structs.replace(hold, accepted=count)
    if hold.step >= FULLY_OPEN_STEP:
        return None
    return msgspec.structs.replace(hold, step=hold.step * 2, accepted=0)


def has_proved_open(hold: Hold, now: float) -> bool:
    """Whether an opening gate may go: its canary was accepted, and no refusal came for long."""
    return (
        hold.phase is HoldPhase.OPENING
        and hold.step > 1
        and hold.released_at is not None
        and hold.released_at <= now - OPENING_QUIET_S
    )


class CoolDown(msgspec.Struct, frozen=True, omit_defaults=True):
    """A gate that opens by itself at `until`: a 429, a 503, an unreachable provider."""

    scope: Scope
    until: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Gates:
    """Every gate that stands at a moment."""

    holds: tuple[Hold, ...] = ()
    cool_downs: tuple[CoolDown, ...] = ()
    sync_only_until: Mapping[str, float] = field(default_factory=dict[str, float])
    """Lanes whose target is remembered as having no async mode, with when that is forgotten."""

    def is_sync_only(self, lane: Lane, now: float) -> bool:
        """Whether the lane's target is remembered as having no async mode."""
        return self.sync_only_until.get(str(lane), 0.0) > now

    def closing_hold(self, lane: Lane) -> Hold | None:
        """The hold that closes a lane, if one does."""
        for hold in self.holds:
            if hold.phase is HoldPhase.CLOSED and covers(hold.scope, lane):
                return hold
        return None

    def running_cool_down(self, scopes: Iterable[Scope], now: float) -> CoolDown | None:
        """The cool-down of any of the scopes that ends last, if one runs."""
        wanted = frozenset(scopes)
        running = [c for c in self.cool_downs if c.until > now and c.scope in wanted]
        return max(running, key=lambda c: c.until, default=None)

    def opening_holds(self, lane: Lane) -> tuple[Hold, ...]:
        """The holds that are opening over a lane: each counts what passes."""
        return tuple(
            hold
            for hold in self.holds
            if hold.phase is HoldPhase.OPENING and covers(hold.scope, lane)
        )

    def admits(self, lane: Lane, now: float, *, bypass_hold: bool = False) -> bool:
        """Whether a job of the lane may be sent now (opening gates count apart)."""
        if self.running_cool_down(lane.scopes, now) is not None:
            return False
        return bypass_hold or self.closing_hold(lane) is None
