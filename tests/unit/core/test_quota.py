"""Quota: never more than the provider gives, and not much less."""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rate_limits import (
    RESERVE,
    TRUST_MOST,
    UNANSWERED_S,
    UNBOUND,
    Bucket,
    Left,
    Told,
    grant,
    learn,
    learn_silence,
    left,
    settle,
    wait_s,
)

NOW = 1_790_000_000.25
W = 60.0
RESET = 1_790_000_060.0
NEW = Bucket()
quick = settings(max_examples=40, database=None, deadline=None)


def told(bucket: Bucket, remaining: int, at: float = NOW, *, limit: int = 100) -> Bucket:
    return learn(bucket, Told(limit, remaining, RESET), at, refused=False, window_s=W)


def test_before_anything_is_known_one_request_goes() -> None:
    assert left(NEW, NOW) == Left(1, 1)
    assert left(grant(NEW, 1, NOW), NOW) == Left(0, 0)


def test_a_request_nobody_ever_heard_of_does_not_close_a_route_for_ever() -> None:
    asked = grant(NEW, 1, NOW)
    assert left(asked, NOW + UNANSWERED_S - 0.1) == Left(0, 0)
    assert left(asked, NOW + UNANSWERED_S) == Left(1, 1)


def test_answers_without_a_word_on_limits_earn_trust_and_a_success_proves_there_is_none() -> None:
    bucket = NEW
    for expected in (2, 4, 8):
        bucket = learn_silence(bucket, NOW, succeeded=False)
        assert left(bucket, NOW) == Left(expected, expected)
    for _ in range(20):
        bucket = learn_silence(bucket, NOW, succeeded=False)
    assert left(bucket, NOW) == Left(TRUST_MOST, TRUST_MOST)
    assert left(learn_silence(bucket, NOW, succeeded=True), NOW) == UNBOUND


def test_what_is_out_counts_until_it_is_answered() -> None:
    bucket = settle(told(grant(NEW, 1, NOW), 99), 1)
    assert left(bucket, NOW) == Left(99 - RESERVE, 99)
    bucket = grant(bucket, 90, NOW)
    assert left(bucket, NOW) == Left(4, 9)
    bucket = settle(told(bucket, 40), 30)
    assert left(bucket, NOW) == Left(0, 0), "60 are out, and may be counted or not"
    assert left(settle(told(bucket, 9), 60), NOW) == Left(4, 9)


def test_the_least_that_was_told_counts_however_answers_overtake_each_other() -> None:
    bucket = told(told(told(NEW, 60), 58), 59)
    assert left(bucket, NOW) == Left(58 - RESERVE, 58)


def test_a_late_word_of_an_earlier_window_changes_nothing() -> None:
    bucket = told(NEW, 60)
    late = learn(bucket, Told(100, 0, RESET - 60), NOW, refused=False, window_s=W)
    assert late == bucket


def test_a_window_ends_as_told_or_a_window_after_its_first_answer() -> None:
    assert told(NEW, 99, NOW).reset_at == RESET
    assert told(NEW, 99, RESET - W - 0.7).reset_at == RESET - 0.7


def test_a_new_window_opens_with_a_tenth_and_after_a_429_with_one() -> None:
    bucket = told(NEW, 0)
    assert left(bucket, RESET) == Left(10, 10)
    assert left(grant(bucket, 10, RESET), RESET) == Left(0, 0)
    refused = learn(bucket, Told(100, 0, RESET), NOW, refused=True, window_s=W)
    assert left(refused, RESET) == Left(1, 1)


def test_the_first_answer_of_a_window_frees_the_rest_of_it() -> None:
    bucket = grant(told(NEW, 0), 10, RESET)
    first = learn(bucket, Told(100, 99, RESET + 61), RESET + 0.3, refused=False, window_s=W)
    assert left(settle(first, 1), RESET + 0.3) == Left(99 - 9 - RESERVE, 90)


def test_another_tier_counts_at_once() -> None:
    assert left(told(NEW, 99), NOW).usual == 94
    assert left(told(told(NEW, 99), 999, limit=1_000), NOW).usual == 94, "the least told counts"
    after = learn(told(NEW, 0), Told(1_000, 999, RESET + 60), RESET, refused=False, window_s=W)
    assert left(after, RESET).usual == 999 - RESERVE


def test_a_limit_that_appears_ends_the_unlimited() -> None:
    free = learn_silence(NEW, NOW, succeeded=True)
    assert grant(free, 5_000, NOW) == free, "no account is kept of it"
    assert left(told(free, 70), NOW) == Left(65, 70)


def test_silence_within_a_window_proves_nothing() -> None:
    bucket = told(NEW, 70)
    assert learn_silence(bucket, NOW, succeeded=True) == bucket


def test_a_sync_run_is_spent_before_it_is_answered() -> None:
    bucket = grant(told(NEW, 50), 1, NOW)
    assert left(settle(bucket, 1, spent=1), NOW) == Left(49 - RESERVE, 49)


@pytest.mark.parametrize(
    ("ahead", "seconds"), [(0, 0.0), (44, 0.0), (45, 59.75), (139, 59.75), (140, 119.75)]
)
def test_the_wait_is_told_by_windows(ahead: int, seconds: float) -> None:
    assert wait_s(told(NEW, 50), ahead, NOW, W) == seconds
    assert wait_s(NEW, ahead, NOW, W) is None
    assert wait_s(Bucket(unlimited=True), ahead, NOW, W) == 0.0


# Against a provider, in virtual time.


@dataclass
class Provider:
    """Counts in windows: of its own clock, or from the first request on."""

    limit: int
    aligned: bool
    started_at: float = -math.inf
    used: int = 0

    def ask(self, now: float) -> tuple[int, Told]:
        if now >= self.started_at + W:
            self.started_at = math.floor(now / W) * W if self.aligned else now
            self.used = 0
        allowed = self.used < self.limit
        self.used += allowed
        reset_at = math.ceil(self.started_at + W)
        return (200 if allowed else 429), Told(self.limit, self.limit - self.used, reset_at)


@dataclass
class World:
    """Workers that share a bucket; every request takes its way there and back."""

    provider: Provider
    draw: Callable[[], float]
    now: float = NOW
    bucket: Bucket = NEW
    sent: int = 0
    refused: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)
    events: list[tuple[float, int, Callable[[], None]]] = field(
        default_factory=list[tuple[float, int, Callable[[], None]]]
    )

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), act))

    def ask(self) -> None:
        self.sent += 1
        there, back = self.draw(), self.draw()

        def arrive() -> None:
            status, words = self.provider.ask(self.now)
            self.later(back, lambda: self.hear(status, words))

        self.later(there, arrive)

    def hear(self, status: int, words: Told) -> None:
        self.refused += status == 429
        self.bucket = learn(self.bucket, words, self.now, refused=status == 429, window_s=W)
        self.bucket = settle(self.bucket, 1)

    def admit(self, most: int) -> None:
        count = min(most, left(self.bucket, self.now).usual)
        self.bucket = grant(self.bucket, count, self.now)
        for _ in range(count):
            self.ask()

    def run(self, jobs: int, until: float) -> None:
        while self.sent < jobs and self.now < until:
            self.admit(jobs - self.sent)
            tick = self.now + 0.1
            while self.events and self.events[0][0] <= tick:
                self.now, _, act = heapq.heappop(self.events)
                act()
                self.admit(jobs - self.sent)
            self.now = tick


@quick
@given(st.sampled_from([7, 20, 100]), st.booleans(), st.randoms(use_true_random=False))
def test_a_backlog_flows_at_the_limit_and_nothing_is_refused(
    limit: int,
    aligned: bool,  # noqa: FBT001 - drawn, not passed
    dice: random.Random,
) -> None:
    world = World(Provider(limit, aligned), lambda: dice.uniform(0.002, 0.4))
    usable = limit - RESERVE
    jobs = 5 * usable
    world.run(jobs, NOW + 12 * W)
    assert world.refused == 0
    assert world.sent == jobs
    assert world.now - NOW <= (5 + aligned) * (W + 1.2)


@quick
@given(st.integers(0, 90), st.randoms(use_true_random=False))
def test_what_others_spend_on_the_account_costs_a_few_refusals_a_window(
    others: int, dice: random.Random
) -> None:
    provider = Provider(100, aligned=True)
    world = World(provider, lambda: dice.uniform(0.002, 0.2))

    def somebody_else() -> None:
        provider.ask(world.now)

    for window in range(1, 5):
        start = math.floor(NOW / W) * W + window * W
        for _ in range(others):
            world.later(start - NOW + dice.uniform(0, 0.5), somebody_else)
    world.run(200, NOW + 5 * W)
    assert world.refused <= 4 * 10, "no more than the opening of each window"
