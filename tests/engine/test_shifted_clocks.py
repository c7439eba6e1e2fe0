"""Of two workers, one has a clock that is an hour off: it harms no job, and says so."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import pytest

from jobs.lifecycle import Transition
from jobs.states import State
from tests.engine.live_system import LiveSystem, wait_until
from worker import main
from worker.clock import RedisClock, SystemClock
from worker.compose.worker import build
from worker.main import ResilientArqWorker
from worker.store.workers import Heartbeat

HOUR_S = 3600.0


class ShiftedClock(SystemClock):
    """The clock of a machine that is set wrongly."""

    def __init__(self, ahead_s: float) -> None:
        super().__init__()
        self._ahead_s = ahead_s

    def now(self) -> float:
        return super().now() + self._ahead_s


def shifted_worker(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> AbstractAsyncContextManager[ResilientArqWorker]:
    """A worker on a machine whose clock is `ahead_s` ahead, when it is entered next."""
    wrong = partial(build, clock=RedisClock(ShiftedClock(ahead_s)))
    monkeypatch.setattr(main, "build", wrong)
    return system.worker(lease_s=1.0, run_deadline_s=600.0)


async def beat_of_shifted(system: LiveSystem) -> Heartbeat | None:
    beats = await system.store.workers.heartbeats()
    return next((beat for beat in beats if beat.is_clock_off), None)


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S])
async def test_a_worker_that_is_an_hour_off_harms_no_job(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """None is stuck or started before its time; the other worker does all the work."""
    async with AsyncExitStack() as workers:
        wrong = await workers.enter_async_context(shifted_worker(system, monkeypatch, ahead_s))
        flying = [await system.enqueue("suno", label=f"f{n}", duration_s=2.0) for n in range(5)]
        later = [await system.enqueue(label=f"s{n}", delay_s=1800.0) for n in range(5)]

        async def is_off() -> bool:
            return await beat_of_shifted(system) is not None

        await wait_until(is_off, "the worker says that its clock is off")
        found = await beat_of_shifted(system)
        assert found is not None
        assert not found.takes_work
        assert "so it sends nothing" in found.failures["clock"]
        assert abs(found.seen_at - SystemClock().now()) < 5
        assert {(await system.job(job)).state for job in flying} == {State.QUEUED}
        monkeypatch.setattr(main, "build", build)
        await workers.enter_async_context(system.worker(lease_s=1.0, run_deadline_s=600.0))
        jobs = await system.all_until(flying)
        assert {job.state for job in jobs} == {State.SUCCEEDED}
        assert {(await system.job(job)).state for job in later} == {State.SCHEDULED}
        events = [event.name for job in jobs for event in job.events]
        assert Transition.PARK_STUCK.value not in events
        assert (await system.ledger("f0"))["posts"] == 1
        assert wrong.ctx["runtime"].takes_work is False


async def test_a_worker_that_is_a_little_off_works_by_the_time_of_redis(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute behind, arq would see what was woken as due in half a minute."""
    async with shifted_worker(system, monkeypatch, -25.0):
        began = SystemClock().now()
        async with asyncio.timeout(10):
            job = await system.until(await system.enqueue())
    assert job.state is State.SUCCEEDED
    times: list[Any] = [job.submitted_at, job.finished_at]
    assert all(abs(at - began) < 10 for at in times)
