"""How long a stopping worker waits for its sync runs."""

import asyncio

import pytest

from config.environment import load
from config.settings import Settings
from tests.simulation.manual_clock import ManualClock
from worker.engine.shutdown_deadline import ShutdownDeadline, wait_of


def test_by_default_a_shutdown_outlasts_the_longest_sync_run() -> None:
    defaults = Settings()
    assert defaults.shutdown_grace_s == defaults.sync_timeout_s + 30
    longest_run_s = defaults.connect_timeout_s + defaults.sync_timeout_s
    assert wait_of(defaults.shutdown_grace_s) > longest_run_s
    raised = load({"KNOUDS_SYNC_TIMEOUT_S": "1200"}, None)
    assert raised.shutdown_grace_s == 1230
    assert load({"KNOUDS_SHUTDOWN_GRACE_S": "5"}, None).shutdown_grace_s == 5


@pytest.mark.parametrize(("grace_s", "wait_s"), [(630, 620), (60, 50), (30, 22.5), (2, 1.5)])
def test_of_the_grace_time_some_is_left_to_end_the_process(grace_s: float, wait_s: float) -> None:
    assert wait_of(grace_s) == wait_s


def test_a_second_signal_hurries_and_a_third_ends_the_wait() -> None:
    clock = ManualClock()
    deadline = ShutdownDeadline(clock, 630)
    assert not deadline.has_started
    assert deadline.record_signal() == 620
    clock.pass_time(100)
    assert deadline.record_signal() == 22.5
    clock.pass_time(1)
    assert deadline.record_signal() == 0


def test_a_second_signal_prolongs_no_short_wait() -> None:
    clock = ManualClock()
    deadline = ShutdownDeadline(clock, 4)
    assert deadline.record_signal() == 3
    clock.pass_time(1)
    assert deadline.record_signal() == 2


async def test_a_signal_during_the_wait_counts() -> None:
    deadline = ShutdownDeadline(ManualClock(), 630)
    deadline.record_signal()
    endless = asyncio.create_task(asyncio.Event().wait())
    waiting = asyncio.create_task(deadline.wait_for([endless]))
    for _ in range(2):
        await asyncio.sleep(0)
        assert not waiting.done()
        deadline.record_signal()
    async with asyncio.timeout(5):
        await waiting
    assert not endless.done(), "what is left is the caller's to cut"
    endless.cancel()


async def test_the_wait_ends_with_the_last_run() -> None:
    deadline = ShutdownDeadline(ManualClock(), 630)
    async with asyncio.timeout(5):
        await deadline.wait_for([])
        await deadline.wait_for([asyncio.create_task(asyncio.sleep(0)) for _ in range(3)])
