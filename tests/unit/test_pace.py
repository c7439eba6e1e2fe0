"""Logins are slowed: whoever fails, more and more; everybody a little, when too many fail."""

from worker.api.auth.login_throttle import (
    ADDRESSES_MOST,
    FORGET_S,
    UNDER_WAY_MOST,
    WAIT_MOST_S,
    Pace,
)

HERE = "192.0.2.1"


def fail(pace: Pace, address: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        pace.failed(address, now)


def test_the_wait_doubles_and_ends_at_a_minute() -> None:
    pace, waits = Pace(), list[float]()
    for _ in range(12):
        pace.failed(HERE, 0)
        waits.append(pace.wait_s(HERE, 0))
    assert waits[:6] == [0, 0, 1, 2, 4, 8]
    assert max(waits) == WAIT_MOST_S
    assert pace.wait_s(HERE, WAIT_MOST_S) == 0


def test_another_address_does_not_wait() -> None:
    pace = Pace()
    fail(pace, HERE, 20)
    assert pace.wait_s("192.0.2.2", 0) == 0


def test_addresses_of_one_ipv6_network_are_one() -> None:
    pace = Pace()
    for n in range(1, 9):
        pace.failed(f"2001:db8::{n}", 0)
    assert pace.wait_s("2001:db8::ffff", 0) > 0
    assert pace.wait_s("2001:db8:0:1::1", 0) == 0


def test_a_right_token_and_a_quiet_while_start_anew() -> None:
    pace = Pace()
    fail(pace, HERE, 9)
    pace.succeeded(HERE)
    assert pace.wait_s(HERE, 0) == 0
    fail(pace, HERE, 9)
    fail(pace, HERE, 1, FORGET_S + 1)
    assert pace.wait_s(HERE, FORGET_S + 1) == 0


def test_many_addresses_slow_everybody_down_but_lock_nobody_out() -> None:
    pace = Pace()
    for n in range(1_000):
        pace.failed(f"10.0.{n // 256}.{n % 256}", 0)
    assert pace.wait_s(HERE, 0) == 0
    assert 0 < pace.slowness_s(0) <= 2
    assert pace.slowness_s(61) == 0
    pace.under_way = UNDER_WAY_MOST
    assert 0 < pace.wait_s(HERE, 0) <= 2


def test_memory_is_bounded() -> None:
    pace = Pace()
    for n in range(ADDRESSES_MOST + 500):
        pace.failed(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", 0)
    assert pace.addresses == ADDRESSES_MOST


def test_the_record_names_ten_failures_a_minute_and_counts_the_others() -> None:
    pace = Pace()
    told = [pace.to_record(0) for _ in range(50)]
    assert told == [1] * 10 + [None] * 40
    assert pace.to_record(61) == 41
