"""The clock that follows Redis: which differences change it, and which stop the sending."""

import pytest
from structlog.testing import capture_logs

from worker.clock import RedisClock, SystemClock
from worker.engine.clock_follower import CLOCK, ClockFollower
from worker.engine.supervisor import ServiceHealth
from worker.store.client import Client

NOW = 1_790_000_000.0
HOUR_S = 3600.0


class World:
    """The clocks of a machine and of Redis, each with an error of its own."""

    def __init__(self, machine_error_s: float = 0.0) -> None:
        self.passed_s = 0.0
        self.suspended_s = 0.0
        self.machine_error_s = machine_error_s
        self.redis_error_s = 0.0
        machine = SystemClock()
        machine.now = lambda: self.true_time + self.machine_error_s  # type: ignore[method-assign]
        self.clock = RedisClock(machine, lambda: 50.0 + self.passed_s - self.suspended_s)

    @property
    def true_time(self) -> float:
        return NOW + self.passed_s

    @property
    def redis_time(self) -> float:
        return self.true_time + self.redis_error_s

    def compare(self, follower: ClockFollower, after_s: float = 3.0) -> bool:
        self.passed_s += after_s
        return follower.compare(self.redis_time, self.clock.steady())

    def follower(self, health: ServiceHealth | None = None) -> ClockFollower:
        client = Client.__new__(Client)
        return ClockFollower(client, self.clock, health or ServiceHealth())

    @property
    def error_s(self) -> float:
        """How far the time that the process works by is ahead of the true one."""
        return self.clock.now() - self.true_time


def test_nothing_may_be_sent_before_the_first_comparison() -> None:
    world = World()
    follower = world.follower()
    assert not follower.is_right
    assert world.compare(follower)
    assert follower.is_right


@pytest.mark.parametrize("error_s", [HOUR_S, -HOUR_S, 31.0, -31.0])
def test_a_machine_that_is_off_works_by_the_time_of_redis_and_sends_nothing(error_s: float) -> None:
    world, health = World(error_s), ServiceHealth()
    follower = world.follower(health)
    with capture_logs() as lines:
        world.compare(follower)
        world.compare(follower)
    assert abs(world.error_s) < 0.01
    assert not follower.is_right
    assert follower.machine_ahead_s == pytest.approx(error_s)
    side = "ahead of" if error_s > 0 else "behind"
    text = f"its clock is {abs(error_s):.0f} s {side} that of Redis, so it sends nothing"
    assert health.failing == {CLOCK: text}
    assert [line["event"] for line in lines] == ["clock.corrected", "clock.off"]
    world.machine_error_s = 0.0  # NTP sets it
    with capture_logs() as lines:
        assert world.compare(follower)
    assert follower.is_right
    assert abs(world.error_s) < 0.01
    assert health.failing == {}
    assert [line["event"] for line in lines] == ["clock.right"]


@pytest.mark.parametrize("error_s", [29.0, -29.0, 2.0])
def test_a_machine_within_the_bound_works_by_the_time_of_redis_and_sends(error_s: float) -> None:
    world = World(error_s)
    follower = world.follower()
    world.compare(follower)
    assert abs(world.error_s) < 0.01
    assert follower.is_right


@pytest.mark.parametrize("error_s", [HOUR_S, -HOUR_S])
def test_a_step_of_the_machines_clock_changes_no_time(error_s: float) -> None:
    world = World()
    follower = world.follower()
    world.compare(follower)
    world.machine_error_s = error_s
    assert abs(world.error_s) < 0.01
    world.compare(follower)
    assert abs(world.error_s) < 0.01
    assert not follower.is_right


@pytest.mark.parametrize("error_s", [HOUR_S, -HOUR_S])
def test_after_a_failover_to_a_server_with_a_wrong_clock_the_time_goes_on(error_s: float) -> None:
    world = World()
    follower = world.follower()
    world.compare(follower)
    world.redis_error_s = error_s
    world.compare(follower)
    assert abs(world.error_s) < 0.01
    assert not follower.is_right
    world.redis_error_s = 0.0
    world.compare(follower)
    assert follower.is_right
    assert abs(world.error_s) < 0.01


def test_a_small_difference_of_a_new_server_is_followed() -> None:
    world = World()
    follower = world.follower()
    world.compare(follower)
    world.redis_error_s = 4.0
    with capture_logs() as lines:
        world.compare(follower)
    assert world.error_s == pytest.approx(4.0, abs=0.01)
    assert follower.is_right
    assert [line["event"] for line in lines] == ["clock.corrected"]


def test_a_machine_that_slept_catches_up() -> None:
    """Its monotonic clock stood still; its clock and that of Redis agree."""
    world = World()
    follower = world.follower()
    world.compare(follower)
    world.passed_s += HOUR_S
    world.suspended_s += HOUR_S
    assert world.error_s == pytest.approx(-HOUR_S)
    world.compare(follower)
    assert abs(world.error_s) < 0.01
    assert follower.is_right


def test_a_difference_within_the_round_trip_changes_nothing() -> None:
    world = World()
    clock = world.clock
    clock.compare(NOW, 50.0, 50.0)
    world.passed_s = 4.0
    clock.compare(NOW + 1.0, 50.0, 54.0)  # the middle of the round trip was 2 s ago
    assert abs(world.error_s) < 0.01


def test_ids_are_made_by_the_time_of_redis() -> None:
    world = World(HOUR_S)
    world.compare(world.follower())
    assert int(world.clock.new_id()[:11], 16) == pytest.approx(world.true_time * 1000, abs=20)
