"""Rate limits: never more requests than the provider allows, and not many fewer."""

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
    MAX_TRIAL_LIMIT,
    NO_LIMIT,
    UNANSWERED_TIMEOUT_S,
    URGENT_RESERVE,
    Allowance,
    RateLimitBucket,
    RateLimitHeaders,
    apply_headers,
    apply_no_headers,
    apply_refusal_without_headers,
    current_allowance,
    grant,
    resolve_grants,
    wait_s,
)

NOW = 1_790_000_000.25
W = 60.0
RESET = 1_790_000_060.0
NEW = RateLimitBucket()
quick = settings(max_examples=40, database=None, deadline=None)


def after_report(
    bucket: RateLimitBucket, remaining: int, at: float = NOW, *, limit: int = 100
) -> RateLimitBucket:
    return apply_headers(
        bucket, RateLimitHeaders(limit, remaining, RESET), at, refused=False, window_s=W
    )


def test_after_a_429_without_headers_every_window_begins_with_one_until_one_is_accepted() -> None:
    for bucket in (NEW, RateLimitBucket(is_unlimited=True), RateLimitBucket(trial_limit=512)):
        refused = apply_refusal_without_headers(bucket, NOW)
        for _ in range(3):
            assert current_allowance(refused, NOW) == Allowance(1, 1)
            refused = apply_no_headers(refused, NOW, succeeded=False)
            refused = apply_refusal_without_headers(refused, NOW)
        for allowed in (2, 4, 8):
            refused = apply_no_headers(refused, NOW, succeeded=True)
            assert current_allowance(refused, NOW) == Allowance(allowed, allowed)
        for _ in range(10):
            refused = apply_no_headers(refused, NOW, succeeded=True)
        assert current_allowance(refused, NOW) == NO_LIMIT


def test_a_429_without_headers_says_nothing_of_a_window_whose_limit_is_known() -> None:
    """Its `Retry-After` is a cool-down of its own: a second must not cost the rest of a minute."""
    bucket = RateLimitBucket(limit=100, remaining=80, reset_at=NOW + 30)
    assert apply_refusal_without_headers(bucket, NOW) == bucket


def test_before_anything_is_known_one_request_goes() -> None:
    assert current_allowance(NEW, NOW) == Allowance(1, 1)
    assert current_allowance(grant(NEW, 1, NOW), NOW) == Allowance(0, 0)


def test_a_request_without_any_answer_does_not_close_a_route_for_ever() -> None:
    asked = grant(NEW, 1, NOW)
    assert current_allowance(asked, NOW + UNANSWERED_TIMEOUT_S - 0.1) == Allowance(0, 0)
    assert current_allowance(asked, NOW + UNANSWERED_TIMEOUT_S) == Allowance(1, 1)


def test_answers_without_limit_headers_earn_trust_and_a_success_proves_there_is_no_limit() -> None:
    bucket = NEW
    for expected in (2, 4, 8):
        bucket = apply_no_headers(bucket, NOW, succeeded=False)
        assert current_allowance(bucket, NOW) == Allowance(expected, expected)
    for _ in range(20):
        bucket = apply_no_headers(bucket, NOW, succeeded=False)
    assert current_allowance(bucket, NOW) == Allowance(MAX_TRIAL_LIMIT, MAX_TRIAL_LIMIT)
    assert current_allowance(apply_no_headers(bucket, NOW, succeeded=True), NOW) == NO_LIMIT


def test_what_is_out_counts_until_it_is_answered() -> None:
    bucket = resolve_grants(after_report(grant(NEW, 1, NOW), 99), 1)
    assert current_allowance(bucket, NOW) == Allowance(99 - URGENT_RESERVE, 99)
    bucket = grant(bucket, 90, NOW)
    assert current_allowance(bucket, NOW) == Allowance(4, 9)
    bucket = resolve_grants(after_report(bucket, 40), 30)
    assert current_allowance(bucket, NOW) == Allowance(0, 0), (
        "60 are out, and may be counted or not"
    )
    assert current_allowance(resolve_grants(after_report(bucket, 9), 60), NOW) == Allowance(4, 9)


def test_the_least_reported_counts_however_answers_overtake_each_other() -> None:
    bucket = after_report(after_report(after_report(NEW, 60), 58), 59)
    assert current_allowance(bucket, NOW) == Allowance(58 - URGENT_RESERVE, 58)


def test_a_late_report_of_an_earlier_window_changes_nothing() -> None:
    bucket = after_report(NEW, 60)
    late = apply_headers(
        bucket, RateLimitHeaders(100, 0, RESET - 60), NOW, refused=False, window_s=W
    )
    assert late == bucket


def test_a_window_ends_as_reported_or_a_window_after_its_first_answer() -> None:
    assert after_report(NEW, 99, NOW).reset_at == RESET
    assert after_report(NEW, 99, RESET - W - 0.7).reset_at == RESET - 0.7


def test_a_new_window_opens_with_a_tenth_and_after_a_429_with_one() -> None:
    bucket = after_report(NEW, 0)
    assert current_allowance(bucket, RESET) == Allowance(10, 10)
    assert current_allowance(grant(bucket, 10, RESET), RESET) == Allowance(0, 0)
    refused = apply_headers(bucket, RateLimitHeaders(100, 0, RESET), NOW, refused=True, window_s=W)
    assert current_allowance(refused, RESET) == Allowance(1, 1)


def test_the_first_answer_of_a_window_frees_the_rest_of_it() -> None:
    bucket = grant(after_report(NEW, 0), 10, RESET)
    first = apply_headers(
        bucket, RateLimitHeaders(100, 99, RESET + 61), RESET + 0.3, refused=False, window_s=W
    )
    assert current_allowance(resolve_grants(first, 1), RESET + 0.3) == Allowance(
        99 - 9 - URGENT_RESERVE, 90
    )


def test_another_tier_counts_at_once() -> None:
    assert current_allowance(after_report(NEW, 99), NOW).normal == 94
    assert (
        current_allowance(after_report(after_report(NEW, 99), 999, limit=1_000), NOW).normal == 94
    ), "the lowest reported value counts"
    after = apply_headers(
        after_report(NEW, 0),
        RateLimitHeaders(1_000, 999, RESET + 60),
        RESET,
        refused=False,
        window_s=W,
    )
    assert current_allowance(after, RESET).normal == 999 - URGENT_RESERVE


def test_a_limit_that_appears_ends_the_unlimited() -> None:
    free = apply_no_headers(NEW, NOW, succeeded=True)
    assert grant(free, 5_000, NOW) == free, "no account is kept of it"
    assert current_allowance(after_report(free, 70), NOW) == Allowance(65, 70)


def test_silence_within_a_window_proves_nothing() -> None:
    bucket = after_report(NEW, 70)
    assert apply_no_headers(bucket, NOW, succeeded=True) == bucket


def test_a_sync_run_is_spent_before_it_is_answered() -> None:
    bucket = grant(after_report(NEW, 50), 1, NOW)
    assert current_allowance(resolve_grants(bucket, 1, unreported=1), NOW) == Allowance(
        49 - URGENT_RESERVE, 49
    )


@pytest.mark.parametrize(
    ("ahead", "seconds"), [(0, 0.0), (44, 0.0), (45, 59.75), (139, 59.75), (140, 119.75)]
)
def test_the_wait_is_estimated_by_windows(ahead: int, seconds: float) -> None:
    assert wait_s(after_report(NEW, 50), ahead, NOW, W) == seconds
    assert wait_s(NEW, ahead, NOW, W) is None
    assert wait_s(RateLimitBucket(is_unlimited=True), ahead, NOW, W) == 0.0


# Against a provider, in virtual time.


@dataclass
class WindowedProvider:
    """A provider that counts in windows: of its own clock, or from the first request on."""

    limit: int
    aligned: bool
    started_at: float = -math.inf
    used: int = 0

    def answer(self, now: float) -> tuple[int, RateLimitHeaders]:
        if now >= self.started_at + W:
            self.started_at = math.floor(now / W) * W if self.aligned else now
            self.used = 0
        allowed = self.used < self.limit
        self.used += allowed
        reset_at = math.ceil(self.started_at + W)
        return (200 if allowed else 429), RateLimitHeaders(
            self.limit, self.limit - self.used, reset_at
        )


@dataclass
class SharedBucketModel:
    """Workers that share a bucket; every request and every answer takes its time."""

    provider: WindowedProvider
    draw: Callable[[], float]
    now: float = NOW
    bucket: RateLimitBucket = NEW
    sent: int = 0
    refused: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)
    events: list[tuple[float, int, Callable[[], None]]] = field(
        default_factory=list[tuple[float, int, Callable[[], None]]]
    )

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), callback))

    def send_request(self) -> None:
        self.sent += 1
        there, back = self.draw(), self.draw()

        def arrive() -> None:
            status, headers = self.provider.answer(self.now)
            self.later(back, lambda: self.receive(status, headers))

        self.later(there, arrive)

    def receive(self, status: int, headers: RateLimitHeaders) -> None:
        self.refused += status == 429
        self.bucket = apply_headers(
            self.bucket, headers, self.now, refused=status == 429, window_s=W
        )
        self.bucket = resolve_grants(self.bucket, 1)

    def admit(self, most: int) -> None:
        count = min(most, current_allowance(self.bucket, self.now).normal)
        self.bucket = grant(self.bucket, count, self.now)
        for _ in range(count):
            self.send_request()

    def run(self, jobs: int, until: float) -> None:
        while self.sent < jobs and self.now < until:
            self.admit(jobs - self.sent)
            tick = self.now + 0.1
            while self.events and self.events[0][0] <= tick:
                self.now, _, callback = heapq.heappop(self.events)
                callback()
                self.admit(jobs - self.sent)
            self.now = tick


@quick
@given(st.sampled_from([7, 20, 100]), st.booleans(), st.randoms(use_true_random=False))
def test_a_backlog_flows_at_the_limit_and_nothing_is_refused(
    limit: int,
    aligned: bool,  # noqa: FBT001 - drawn, not passed
    rng: random.Random,
) -> None:
    model = SharedBucketModel(WindowedProvider(limit, aligned), lambda: rng.uniform(0.002, 0.4))
    usable = limit - URGENT_RESERVE
    jobs = 5 * usable
    model.run(jobs, NOW + 12 * W)
    assert model.refused == 0
    assert model.sent == jobs
    assert model.now - NOW <= (5 + aligned) * (W + 1.2)


@quick
@given(st.integers(0, 90), st.randoms(use_true_random=False))
def test_what_others_spend_on_the_account_costs_a_few_refusals_a_window(
    others: int, rng: random.Random
) -> None:
    provider = WindowedProvider(100, aligned=True)
    model = SharedBucketModel(provider, lambda: rng.uniform(0.002, 0.2))

    def other_program() -> None:
        provider.answer(model.now)

    for window in range(1, 5):
        start = math.floor(NOW / W) * W + window * W
        for _ in range(others):
            model.later(start - NOW + rng.uniform(0, 0.5), other_program)
    model.run(200, NOW + 5 * W)
    assert model.refused <= 4 * 10, "no more than the opening of each window"
