"""Logins are throttled: each failing client more and more, all of them if too many fail."""

import contextlib
from itertools import count

from worker.api.auth.login_throttle import (
    FORGET_AFTER_S,
    FREE_FAILURES,
    MAX_ADDRESSES,
    MAX_IN_PROGRESS,
    MAX_REPEATED,
    MAX_WAIT_S,
    LoginThrottle,
)

HERE = "192.0.2.1"
GUESSES = count()


def fail(throttle: LoginThrottle, address: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        assert throttle.record_failure(address, f"guess-{next(GUESSES)}", now)


def test_the_wait_doubles_and_ends_at_a_minute() -> None:
    pace, waits = LoginThrottle(), list[float]()
    for _ in range(12):
        fail(pace, HERE, 1)
        waits.append(pace.wait_s(HERE, 0))
    assert waits[:6] == [0, 0, 1, 2, 4, 8]
    assert max(waits) == MAX_WAIT_S
    assert pace.wait_s(HERE, MAX_WAIT_S) == 0


def test_another_address_does_not_wait() -> None:
    pace = LoginThrottle()
    fail(pace, HERE, 20)
    assert pace.wait_s("192.0.2.2", 0) == 0


def test_addresses_of_one_ipv6_network_are_one() -> None:
    pace = LoginThrottle()
    for n in range(1, 9):
        fail(pace, f"2001:db8::{n}", 1)
    assert pace.wait_s("2001:db8::ffff", 0) > 0
    assert pace.wait_s("2001:db8:0:1::1", 0) == 0


def test_a_right_token_and_a_quiet_while_start_anew() -> None:
    pace = LoginThrottle()
    fail(pace, HERE, 9)
    pace.record_success(HERE)
    assert pace.wait_s(HERE, 0) == 0
    fail(pace, HERE, 9)
    fail(pace, HERE, 1, FORGET_AFTER_S + 1)
    assert pace.wait_s(HERE, FORGET_AFTER_S + 1) == 0


def test_many_addresses_slow_everybody_down_but_lock_nobody_out() -> None:
    pace = LoginThrottle()
    for n in range(1_000):
        fail(pace, f"10.0.{n // 256}.{n % 256}", 1)
    assert pace.wait_s(HERE, 0) == 0
    assert 0 < pace.delay_s(0) <= 2
    assert pace.delay_s(61) == 0
    with contextlib.ExitStack() as logins:
        for _ in range(MAX_IN_PROGRESS):
            logins.enter_context(pace.attempt(0))
        assert 0 < pace.wait_s(HERE, 0) <= 2
    assert pace.wait_s(HERE, 0) == 0


def test_memory_is_bounded() -> None:
    pace = LoginThrottle()
    for n in range(MAX_ADDRESSES + 500):
        fail(pace, f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", 1)
    assert pace.address_count == MAX_ADDRESSES


def test_the_record_names_ten_failures_a_minute_and_counts_the_others() -> None:
    pace = LoginThrottle()
    audited = [pace.failures_to_audit(0, counts=True) for _ in range(50)]
    assert audited == [1] * 10 + [None] * 40
    assert pace.failures_to_audit(61, counts=False) is None
    assert pace.failures_to_audit(61, counts=True) == 42


def test_a_wrong_token_that_an_address_repeats_counts_once() -> None:
    pace, counted = LoginThrottle(), 0
    for second in range(int(FORGET_AFTER_S) * 4):
        counted += pace.record_failure(HERE, "of yesterday", float(second))
        assert pace.wait_s(HERE, float(second)) == 0
        assert pace.delay_s(float(second)) == 0
    assert counted == 4, "once each time that its failures would be forgotten"
    assert pace.record_failure("192.0.2.2", "of yesterday", 0), "another address guesses"


def test_repeated_tokens_are_forgotten_among_guesses_and_waits_do_not_end_with_them() -> None:
    pace = LoginThrottle()
    pace.record_failure(HERE, "of yesterday", 0)
    fail(pace, HERE, FREE_FAILURES)
    waits = pace.wait_s(HERE, 0)
    assert not pace.record_failure(HERE, "of yesterday", 0)
    assert pace.wait_s(HERE, 0) == waits > 0
    fail(pace, HERE, MAX_REPEATED)
    assert pace.record_failure(HERE, "of yesterday", 0)
