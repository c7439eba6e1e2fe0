"""Breakers beside a model that knows only what was sent when: in no order of outcomes it disagrees.

The model keeps the submits in flight with the epoch they were sent in, and a clock. It checks what
must hold of every breaker, whatever happens in whatever order.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from jobs import breakers
from jobs.breakers import (
    MAX_PAUSE_S,
    Breaker,
    BreakerCause,
    BreakerError,
    BreakerFailure,
    BreakerState,
    BreakerSuccess,
    FailedSubmit,
)
from jobs.lanes import Scope
from tests.unit.core.job_builders import NOW

LANE: Final = Scope("default/model/suno")
PROBERS: Final = ("w1", "w2")


@dataclass(frozen=True, slots=True)
class SentSubmit:
    """A submit in flight."""

    number: int
    epoch: int
    was_counted: bool
    """The breaker counted it in its step."""
    at: float


class BreakerMachine(RuleBasedStateMachine):
    """What workers, the provider, operators, a failover and the clock do to one breaker."""

    breaker: Breaker
    now: float = NOW
    scope: ClassVar = LANE
    cause: ClassVar = BreakerCause.UNKNOWN_OUTCOME

    @initialize()
    def open(self) -> None:
        self.breaker = breakers.new_breaker(self.scope, self.cause)
        self.lost_lanes: defaultdict[int, set[str]] = defaultdict(set)
        """Lanes that lost a submit in each epoch."""
        self.in_flight: list[SentSubmit] = []
        self.sent = 0
        self.epochs_seen = {0}
        self.tripped: set[int] = set()

    def change(self, after: Breaker) -> None:
        """Take over what a transition made, and check what holds of every change."""
        before, self.breaker = self.breaker, after
        if after.epoch != before.epoch:
            assert after.epoch not in self.epochs_seen, "an epoch is never used again"
            self.epochs_seen.add(after.epoch)
        if (before.state, after.state) == (BreakerState.CLOSED, BreakerState.OPEN):
            assert after.tripped_epoch == before.epoch
            assert after.trips == before.trips + 1

    # Submits.

    @rule(count=st.integers(1, 12))
    def send(self, count: int) -> None:
        """Send as many as the breaker lets through."""
        allowed = self.breaker.submits_allowed(self.now)
        if allowed is not None:
            count = min(count, allowed - sum(one.was_counted for one in self.in_flight))
        for _ in range(count):
            self.sent += 1
            sent = SentSubmit(self.sent, self.breaker.epoch, allowed is not None, self.now)
            self.in_flight.append(sent)

    @precondition(lambda self: self.in_flight)
    @rule(
        which=st.integers(0, 50),
        jobs=st.integers(1, 40),
        lane=st.sampled_from("ab"),
        twice=st.booleans(),
    )
    def fail(self, which: int, jobs: int, lane: str, *, twice: bool) -> None:
        """An outcome is unknown, or the target failed."""
        sent = self.in_flight.pop(which % len(self.in_flight))
        failure = BreakerFailure(
            scope=self.breaker.scope,
            cause=self.breaker.cause,
            error=BreakerError("HTTP_502", 502),
            epoch=sent.epoch,
            submit=FailedSubmit(
                f"j{sent.number % jobs}:{sent.number}", f"{sent.number % jobs}", lane
            ),
            began_at=sent.at,
            is_canary=sent.was_counted,
            is_run=bool(sent.number % 2),
        )
        before = self.breaker
        self.lost_lanes[sent.epoch].add(lane)
        self.change(breakers.apply_failure(before, failure, self.now))
        if before.is_of_route and before.trips < self.breaker.trips:
            assert len(self.lost_lanes[sent.epoch]) > 1, "one lane alone stops no route"
        if before.cause is BreakerCause.UNKNOWN_OUTCOME and before.trips < self.breaker.trips:
            was_later = before.failed_at is not None and sent.at > before.failed_at
            assert was_later or sent.was_counted or before.failures > 2, (
                "two of one burst stop nothing"
            )
        if sent.epoch not in (before.epoch, before.tripped_epoch):
            assert self.breaker == before, "an outcome of another epoch changes nothing"
        if before.state is BreakerState.PROBING and sent.epoch == before.epoch:
            assert self.breaker.step < max(2, before.step), "a failed canary widens nothing"
        if twice:
            again = breakers.apply_failure(self.breaker, failure, self.now)
            assert again == self.breaker, "a submit is counted once"

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 50), is_run=st.booleans())
    def succeed(self, which: int, *, is_run: bool) -> None:
        """A submit is accepted, or its run succeeds."""
        sent = self.in_flight.pop(which % len(self.in_flight))
        success = BreakerSuccess(
            scope=self.breaker.scope,
            cause=self.breaker.cause,
            epoch=sent.epoch,
            is_run=is_run,
        )
        before = self.breaker
        self.change(breakers.apply_success(before, success, self.now))
        if sent.epoch != before.epoch:
            assert self.breaker.state is before.state, "one of another epoch closes nothing"
        if self.breaker.state is not before.state:
            is_lane = before.cause is BreakerCause.TARGET_FAILURE
            assert is_run or not is_lane, "only a run proves a target"
            assert before.state is BreakerState.PROBING

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 50))
    def end_without_outcome(self, which: int) -> None:
        """It is cancelled, or its worker is killed."""
        self.in_flight.pop(which % len(self.in_flight))

    # Probes.

    @rule(worker=st.sampled_from(PROBERS), answered=st.booleans(), late_s=st.sampled_from([0, 70]))
    def probe(self, worker: str, late_s: int, *, answered: bool) -> None:
        if not breakers.is_probe_due(self.breaker, self.now):
            return
        if not self.breaker.rule.probes_by_call:
            self.change(breakers.apply_probe_begin(self.breaker, self.now))
            return
        self.change(breakers.apply_probe_claim(self.breaker, worker, self.now))
        self.now += late_s
        if late_s:
            self.change(breakers.apply_probe_claim(self.breaker, PROBERS[worker == "w1"], self.now))
            assert breakers.apply_probe_result(self.breaker, worker, self.now, None) == self.breaker
        self.change(
            breakers.apply_probe_result(
                self.breaker,
                self.breaker.prober,
                self.now,
                None if answered else breakers.BreakerError("no_answer"),
            )
        )

    @rule(seconds=st.sampled_from([0.2, 1.0, 5.0, 40.0, 901.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def find_evidence(self) -> None:
        self.change(breakers.apply_evidence(self.breaker, self.breaker.evidence_of or "", self.now))

    # Operators, and what goes wrong.

    @rule(reset=st.booleans())
    def act(self, *, reset: bool) -> None:
        act = breakers.apply_reset if reset else breakers.apply_probe_now
        self.change(act(self.breaker, self.now))

    @precondition(lambda self: self.breaker.state is BreakerState.OPEN)
    @rule(ahead_s=st.sampled_from([1e4, 1e7]))
    def set_by_a_fast_clock(self, ahead_s: float) -> None:
        self.change(
            msgspec.structs.replace(
                self.breaker,
                next_probe_at=self.now + ahead_s,
                canary_at=self.now + ahead_s,
                prober_until=None,
            )
        )
        assert breakers.is_probe_due(self.breaker, self.now)

    @rule()
    def lose_the_record(self) -> None:
        """A failover rolls the state back to nothing; later epochs are new all the same."""
        self.breaker = breakers.new_breaker(self.breaker.scope, self.breaker.cause)
        self.now += 1

    # What always holds.

    @invariant()
    def it_opens_by_itself(self) -> None:
        """It is never in need of an operator: a probe is due within the longest pause."""
        breaker = getattr(self, "breaker", None)
        if breaker is None or breaker.state is not BreakerState.OPEN:
            return
        assert breakers.is_probe_due(breaker, self.now + MAX_PAUSE_S + 61)

    @invariant()
    def it_lets_something_through_unless_it_is_open(self) -> None:
        breaker = getattr(self, "breaker", None)
        if breaker is not None and breaker.state is not BreakerState.OPEN:
            assert breaker.submits_allowed(self.now) != 0
            assert breaker.opened_at is None or breaker.state is BreakerState.PROBING

    @invariant()
    def its_record_is_small(self) -> None:
        breaker = getattr(self, "breaker", None)
        if breaker is not None:
            assert len(msgspec.json.encode(breaker)) < 4_000


class RouteBreakerMachine(BreakerMachine):
    """Unknown outcomes of a route with two lanes."""

    scope = Scope("default/model")


class TargetBreakerMachine(BreakerMachine):
    """Failures of a target."""

    cause = BreakerCause.TARGET_FAILURE


SETTINGS: Final = settings(
    max_examples=30, stateful_step_count=50, deadline=None, database=None, derandomize=True
)
TestLaneBreakerMachine = BreakerMachine.TestCase
TestRouteBreakerMachine = RouteBreakerMachine.TestCase
TestTargetBreakerMachine = TargetBreakerMachine.TestCase
for machine in (TestLaneBreakerMachine, TestRouteBreakerMachine, TestTargetBreakerMachine):
    machine.settings = SETTINGS
