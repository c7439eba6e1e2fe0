"""A Redis that comes back with other data: nothing is sent before every worker has looked at it."""

import pytest
from structlog.testing import capture_logs

from jobs.lanes import Scope
from jobs.states import State
from tests.engine.live_system import OPERATOR, LiveSystem, redis_recovery, wait_until
from worker.engine.services.redis_recovery import RECOVERING, RedisRecovery
from worker.main import ResilientArqWorker
from worker.store.recovery import STATE_FIELD
from worker.store.workers import Heartbeat

OTHER_SERVER = f"ready e1 {'0' * 40} 5.0 older"


async def _set_state(system: LiveSystem, text: str) -> None:
    keys = system.store.keys
    await system.store.client.call("HSET", keys.recovery, STATE_FIELD, text)


async def _is_ready(worker: ResilientArqWorker) -> bool:
    """Whether a worker relies on what Redis says."""
    recovery = await redis_recovery(worker)
    return recovery.is_trusted(worker.ctx["runtime"].context.clock.now())


async def test_nothing_is_sent_until_every_worker_has_written_back_what_it_knows(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that reaches Redis late knows of runs that the others would pay for again."""
    monkeypatch.setattr("worker.engine.services.redis_recovery.RECOVERING_SHOWN_AFTER_S", 0.0)
    hold = await system.actions.place_hold(Scope("default"), OPERATOR)
    job_id = await system.enqueue(label="it")
    async with system.worker() as worker:
        recovery = await redis_recovery(worker)
        now = worker.ctx["runtime"].context.clock.now

        async def is_waiting() -> bool:
            return RECOVERING in recovery.problems(now())

        await wait_until(lambda: _is_ready(worker), "the worker is ready")
        slow = Heartbeat(id="slow", host="h", pid=1, started_at=now(), seen_at=now())
        await system.store.workers.record_heartbeat(slow)
        await _set_state(system, OTHER_SERVER)
        await wait_until(is_waiting, "it waits for the other worker, and says so")
        await system.actions.release_hold(hold.id, OPERATOR)
        assert not await _is_ready(worker)
        state = await system.store.recovery.advance()
        assert not state.is_ready
        assert await system.labels() == {}
        await system.store.recovery.report("slow", state.epoch, ())
        await system.until(job_id, State.SUCCEEDED)
        assert RECOVERING not in recovery.problems(now())
    assert (await system.ledger("it"))["posts"] == 1


async def test_a_send_is_fenced_where_the_data_changed_since_its_worker_looked(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def idle_tick(_: RedisRecovery, now: float) -> float:
        del now
        return 0.1

    hold = await system.actions.place_hold(Scope("default"), OPERATOR)
    job_id = await system.enqueue(label="it")
    async with system.worker() as worker:
        await wait_until(lambda: _is_ready(worker), "the worker is ready")
        with monkeypatch.context() as blind, capture_logs() as logs:
            blind.setattr(RedisRecovery, "tick", idle_tick)
            found = await system.store.recovery.advance()
            await _set_state(system, f"ready another {found.server} 5.0 older")
            await system.actions.release_hold(hold.id, OPERATOR)

            async def is_fenced() -> bool:
                return "submit.fenced_out" in {line["event"] for line in logs}

            await wait_until(is_fenced, "the mark of the submit is refused")
            assert await system.labels() == {}
        await system.until(job_id, State.SUCCEEDED)
    assert (await system.ledger("it"))["posts"] == 1
