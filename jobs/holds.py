"""Holds and cool-downs: gates that stop the submits of a scope, and how a released hold opens.

A hold stays closed until an operator releases it. It then opens in steps: one submit, the canary,
goes first; once it is accepted, 2, 4, 8 … submits may be under way at once. A refusal on the way
closes the hold again (a relapse). A cool-down opens by itself.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from jobs.breakers import (
    NO_BREAKERS,
    Breaker,
    BreakerCause,
    BreakerEpochs,
    BreakerState,
    PassedBreakers,
    breaker_keys,
)
from jobs.job import MANUAL
from jobs.lanes import Lane, Scope, is_target_scope

FULLY_OPEN_STEP: Final = 64
"""The step at which an opening hold is removed, once that many submits were accepted in it."""

OPENING_QUIET_S: Final = 600.0
"""Seconds after which an opening hold is removed whose lane is too quiet to complete the steps."""


class HoldPhase(StrEnum):
    """Whether a hold lets submits through: none (`closed`), or some (`opening`)."""

    CLOSED = "closed"
    OPENING = "opening"


class Canary(StrEnum):
    """What goes first through a released hold, and so proves that its cause is gone."""

    SUBMIT = "submit"
    POLL = "poll"
    """A poll of a paid run of the account: the hold keeps runs from being paid for that nobody can
    fetch."""


def hold_key(scope: Scope, code: str) -> str:
    """The identity of a hold: one for each cause in a scope, however many jobs it stops."""
    return f"{scope}|{code}"


def hold_id(scope: Scope, code: str) -> str:
    """The public id of a hold, a digest of its key: `hold-` and ten hexadecimal digits."""
    return "hold-" + hashlib.blake2s(hold_key(scope, code).encode(), digest_size=5).hexdigest()


class Hold(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """A gate over a scope, placed by a 401, 402 or 403, or by an operator (code `manual`).

    Times are Unix seconds.
    """

    id: str
    scope: Scope
    code: str
    created_at: float
    phase: HoldPhase = HoldPhase.CLOSED
    http_status: int | None = None
    message: str = ""
    action: str = ""
    """What the operator has to do before the release."""
    action_url: str | None = None
    created_by: str = ""
    note: str = ""
    hits: int = 1
    """Submits that were refused for this cause."""
    relapses: int = 0
    """How often a refusal closed it again after a release."""
    step: int = 0
    """While opening: how many submits may be under way at once (1, 2, 4, 8 …)."""
    accepted: int = 0
    """While opening: submits accepted in this step."""
    released_at: float | None = None
    released_by: str = ""
    canary: Canary = Canary.SUBMIT
    placed_for: str = ""
    """In whose share it counts (`jobs.tenants.hold_owner`), if a submit of a job placed it."""

    @property
    def stops_submits(self) -> bool:
        """Whether no submit may pass: it is closed, or a poll has to prove it first.

        Without a paid run to poll, one submit passes (step 1), and its run is what is polled.
        """
        if self.phase is HoldPhase.CLOSED:
            return True
        return self.canary is Canary.POLL and self.accepted >= self.step

    @property
    def key(self) -> str:
        """Its identity, `scope|code`."""
        return hold_key(self.scope, self.code)

    @property
    def is_manual(self) -> bool:
        """Whether an operator placed it: a pause."""
        return self.code == MANUAL


def apply_refusal(existing: Hold | None, new: Hold) -> Hold:
    """The hold after a refusal: `new`, or `existing` hit once more, closed again if it was opening.

    The existing hold keeps its age and counts, and takes the newest message and action. A poll that
    was sent before the release (`created_at` of its hold) is only counted.
    """
    if existing is None:
        return new
    is_old = new.canary is Canary.POLL and new.created_at <= (existing.released_at or 0.0)
    relapsed = existing.phase is HoldPhase.OPENING
    if relapsed and is_old:
        return msgspec.structs.replace(existing, hits=existing.hits + 1)
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
        canary=new.canary if relapsed else existing.canary,
    )


def apply_release(
    hold: Hold, now: float, *, by: str, note: str = "", is_polled: bool = False
) -> Hold:
    """The hold after an operator released it: opening, at the step of one canary.

    `is_polled`: a paid run can be polled, so that no submit has to be the canary of a hold whose
    canary is a poll.
    """
    return msgspec.structs.replace(
        hold,
        phase=HoldPhase.OPENING,
        step=0 if hold.canary is Canary.POLL and is_polled else 1,
        accepted=0,
        released_at=now,
        released_by=by,
        note=note or hold.note,
    )


def apply_accept(hold: Hold, *, is_ended: bool = False) -> Hold | None:
    """The hold after one of its submits was accepted; None when it is fully open.

    A hold whose canary is a poll waits for the poll of that run; if the run has ended with its
    answer (`is_ended`), the next submit may pass.
    """
    if hold.phase is not HoldPhase.OPENING:
        return hold
    if hold.canary is Canary.POLL:
        return hold if is_ended else msgspec.structs.replace(hold, accepted=hold.accepted + 1)
    count = hold.accepted + 1
    if count < hold.step:
        return msgspec.structs.replace(hold, accepted=count)
    if hold.step >= FULLY_OPEN_STEP:
        return None
    return msgspec.structs.replace(hold, step=hold.step * 2, accepted=0)


def apply_no_paid_run(hold: Hold) -> Hold:
    """The hold where no paid run is left that a poll could prove it with: one submit may pass.

    Unchanged unless it is released and waits for a poll.
    """
    if hold.phase is not HoldPhase.OPENING or hold.canary is not Canary.POLL:
        return hold
    return msgspec.structs.replace(hold, step=1, accepted=0) if hold.stops_submits else hold


def has_proved_open(hold: Hold, now: float) -> bool:
    """Whether an opening hold can be removed: its canary was accepted, and it has been quiet.

    Quiet means `OPENING_QUIET_S` since the release without a refusal.
    """
    return (
        hold.phase is HoldPhase.OPENING
        and hold.step > 1
        and hold.released_at is not None
        and hold.released_at <= now - OPENING_QUIET_S
    )


class CoolDown(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """A gate that opens by itself at `until`: after a 429, a 503, or an unreachable provider."""

    scope: Scope
    until: float
    why: str = ""


G = TypeVar("G", Hold, CoolDown, Breaker)


def target_holds_by_owner(holds: Iterable[Hold]) -> Counter[str]:
    """How many holds on targets count in the share of each owner; no pause of an operator does."""
    return Counter(
        hold.placed_for for hold in holds if not hold.is_manual and is_target_scope(hold.scope)
    )


@dataclass(frozen=True, slots=True)
class Gates:
    """Every hold, cool-down and breaker at one moment."""

    holds: tuple[Hold, ...] = ()
    cool_downs: tuple[CoolDown, ...] = ()
    sync_only_until: Mapping[str, float] = field(default_factory=dict[str, float])
    """Lanes whose target is remembered to have no async mode → when that memory ends."""
    breakers: tuple[Breaker, ...] = ()
    caps: Mapping[str, int] = field(default_factory=dict[str, int])
    """Concurrency caps that operators set, by scope."""
    _holds_by_scope: Mapping[str, Sequence[Hold]] = field(init=False, repr=False, compare=False)
    _breakers_by_scope: Mapping[str, Sequence[Breaker]] = field(
        init=False, repr=False, compare=False
    )
    _cool_downs_by_scope: Mapping[str, Sequence[CoolDown]] = field(
        init=False, repr=False, compare=False
    )
    """By scope, so that asking about a lane costs the same however many gates there are."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_holds_by_scope", _by_scope(self.holds))
        object.__setattr__(self, "_breakers_by_scope", _by_scope(self.breakers))
        object.__setattr__(self, "_cool_downs_by_scope", _by_scope(self.cool_downs))

    def caps_over(self, defaults: Mapping[str, int]) -> Mapping[str, int]:
        """The caps by scope: those of the settings, but where an operator set another one."""
        return {**defaults, **self.caps} if self.caps else defaults

    def is_sync_only(self, lane: Lane, now: float) -> bool:
        """Whether the lane's target is remembered to have no async mode."""
        return self.sync_only_until.get(str(lane), 0.0) > now

    def closing_hold(self, lane: Lane) -> Hold | None:
        """A hold that covers a lane and stops its submits, of the widest scope; or None."""
        for hold in _covering(self._holds_by_scope, lane.scopes):
            if hold.stops_submits:
                return hold
        return None

    def running_cool_down(self, scopes: Iterable[Scope], now: float) -> CoolDown | None:
        """Of the cool-downs of these scopes that still run, the one that ends last; or None."""
        running = [c for c in _covering(self._cool_downs_by_scope, scopes) if c.until > now]
        return max(running, key=lambda c: c.until, default=None)

    @property
    def polled_accounts(self) -> frozenset[str]:
        """The accounts that have a hold which a poll of a paid run proves open."""
        return frozenset(hold.scope for hold in self.holds if hold.canary is Canary.POLL)

    def polled_hold(self, account: str) -> Hold | None:
        """The hold of an account that a poll of a paid run proves open once released, or None."""
        found = self._holds_by_scope.get(account, ())
        return next((hold for hold in found if hold.canary is Canary.POLL), None)

    def waiting_for_poll(self, accounts: Iterable[str]) -> tuple[Hold, ...]:
        """The released holds of these accounts that no submit passes before a poll is answered."""
        found = (self.polled_hold(account) for account in set(accounts)) if self.holds else ()
        return tuple(
            hold
            for hold in found
            if hold is not None and hold.phase is HoldPhase.OPENING and hold.stops_submits
        )

    def opening_holds(self, lane: Lane) -> tuple[Hold, ...]:
        """The opening holds that cover a lane. Each counts the submits it lets through."""
        return tuple(
            hold for hold in _covering(self._holds_by_scope, lane.scopes) if not hold.stops_submits
        )

    def open_breaker(self, lane: Lane, worker: str = "") -> Breaker | None:
        """The first open breaker that covers a lane, or None.

        `worker`: one that cannot connect is stopped by the breaker for it; without a name only
        what stops every worker counts.
        """
        for breaker in _covering(self._breakers_by_scope, lane.scopes):
            if breaker.state is BreakerState.OPEN and breaker.stops(worker):
                return breaker
        return None

    def limiting_breakers(self, lane: Lane, now: float, worker: str = "") -> tuple[Breaker, ...]:
        """The breakers that cover a lane, let some submits of a worker through, and count them."""
        return tuple(
            breaker
            for breaker in _covering(self._breakers_by_scope, lane.scopes)
            if breaker.submits_allowed(now) and breaker.stops(worker)
        )

    def passed_breakers(self, lane: Lane, now: float, worker: str = "") -> PassedBreakers:
        """What an admission of a job of the lane by a worker passes."""
        if not self.breakers:
            return NO_BREAKERS
        known = {
            breaker.key: breaker for breaker in _covering(self._breakers_by_scope, lane.scopes)
        }
        passed = [known.get(key) for key in breaker_keys(lane)]
        target = passed[1]
        limiting = self.limiting_breakers(lane, now, worker)
        is_probe = target is not None and target in limiting
        return PassedBreakers(
            epochs=BreakerEpochs(*(breaker.epoch if breaker else 0 for breaker in passed)),
            canary_of=tuple(
                one.id for one in limiting if one.cause is not BreakerCause.TARGET_FAILURE
            ),
            probe_of=target.id if target and is_probe else None,
            tripped_epoch=target.tripped_epoch if target else None,
        )

    def admits(
        self, lane: Lane, now: float, *, bypass_hold: bool = False, worker: str = ""
    ) -> bool:
        """Whether a job of the lane may be submitted now, by a worker.

        `bypass_hold` ignores closed holds, not cool-downs and breakers. The steps of opening holds
        and of probing breakers are checked elsewhere, where they are counted.
        """
        if self.running_cool_down(lane.scopes, now) is not None:
            return False
        if self.open_breaker(lane, worker) is not None:
            return False
        return bypass_hold or self.closing_hold(lane) is None


def _by_scope(gates: Iterable[G]) -> dict[str, list[G]]:
    found: dict[str, list[G]] = {}
    for gate in gates:
        found.setdefault(gate.scope, []).append(gate)
    return found


def _covering(by_scope: Mapping[str, Sequence[G]], scopes: Iterable[str]) -> Iterator[G]:
    """The gates of some scopes, in the order of the scopes."""
    for scope in scopes:
        yield from by_scope.get(scope, ())
