"""Sync runs and async submits have slots of their own: neither waits for the other."""

from typing import Any

from jobs.indexes import Index
from jobs.lanes import JobId, Lane
from jobs.states import Kind, Mode, State
from tests.engine.live_system import LiveSystem, wait_until

SYNC_ONLY = "kling-2-5"


async def _states(system: LiveSystem, prefix: str, count: int) -> dict[State, int]:
    jobs = [await system.job(f"{prefix}{n}") for n in range(count)]
    return {state: sum(job.state is state for job in jobs) for state in {j.state for j in jobs}}


async def _enqueue_many(
    system: LiveSystem, prefix: str, count: int, target: str, **behaviour: Any
) -> list[str]:
    ids = [f"{prefix}{n}" for n in range(count)]
    requests = [(JobId(i), system.request(target, label=i, **behaviour)) for i in ids]
    await system.enqueuer.enqueue_many(requests)
    return ids


async def _learn_rate_limit(system: LiveSystem) -> None:
    """Have one run succeed: until then the worker sends one request at a time."""
    await system.until(await system.enqueue(label="first"), State.SUCCEEDED)


async def _sync_slots_held(system: LiveSystem) -> int:
    return int(await system.store.client.call("ZCARD", system.store.keys.index(Index.SYNC)))


async def test_async_submits_pass_a_long_line_of_sync_runs(system: LiveSystem) -> None:
    async with system.worker(max_jobs=2, sync_runs=2, shutdown_grace_s=0.1):
        await _learn_rate_limit(system)
        long = await _enqueue_many(system, "long", 8, SYNC_ONLY, duration_s=60)
        quick = await _enqueue_many(system, "quick", 8, "gpt-image-2")
        await system.all_until(quick, State.SUCCEEDED)

        async def two_run_and_the_rest_waits() -> bool:
            return await _states(system, "long", 8) == {State.RUNNING: 2, State.QUEUED: 6}

        await wait_until(two_run_and_the_rest_waits, "two sync runs, the others in line")
        assert await _sync_slots_held(system) == 2
        waiting = [job for i in long if (job := await system.job(i)).state is State.QUEUED]
    assert {(job.spent, job.submits, job.attempts) for job in waiting} == {(0, 0, ())}
    posts = [label["posts"] for label in (await system.labels()).values()]
    assert sum(posts) <= 1 + 8 + 2 * 2 + 2, "at most the submits under way were asked async in vain"


async def test_sync_runs_pass_slow_async_submits(system: LiveSystem) -> None:
    lane = Lane("default", Kind.MODEL, SYNC_ONLY)
    await system.store.holds.remember_sync_only(lane, 4e9)
    async with system.worker_to_kill(max_jobs=1):  # it would wait for the slow answer
        await _learn_rate_limit(system)
        late: dict[str, Any] = {"fault": "EXECUTION_FAILED", "delay_s": 25, "times": 1}
        await system.sandbox_admin("faults", **late, match={"label": "slow0"})
        slow = await _enqueue_many(system, "slow", 1, "gpt-image-2")

        async def the_slot_is_taken() -> bool:
            return (await system.job(slow[0])).sent_at is not None

        await wait_until(the_slot_is_taken, "a slow submit")
        long = await _enqueue_many(system, "sync", 5, SYNC_ONLY)
        await system.all_until(long, State.SUCCEEDED)
        job = await system.job(slow[0])
        assert (job.state, job.submits) == (State.SUBMITTING, 1), "it is not answered yet"


async def test_a_job_that_turns_out_sync_only_with_no_slot_free_waits_with_nothing_spent(
    system: LiveSystem,
) -> None:
    async with system.worker(max_jobs=5, sync_runs=1):
        await _learn_rate_limit(system)
        ids = await _enqueue_many(system, "k", 5, SYNC_ONLY, duration_s=0.2)
        done = await system.all_until(ids, State.SUCCEEDED)
    assert {(job.mode, job.spent, job.submits) for job in done} == {(Mode.SYNC, 0, 1)}
    returned = [job for job in done if "return_to_queue" in [event.name for event in job.events]]
    assert len(returned) == 4
    notes = {event.note for job in returned for event in job.events if event.note}
    assert notes == {"every slot for sync runs is taken"}
    counted = [label for name, label in (await system.labels()).items() if name != "first"]
    assert {label["posts"] for label in counted} == {2}, "asked async once, then run sync"
    assert {label["started"] for label in counted} == {1}
    assert await _sync_slots_held(system) == 0


async def test_a_cap_also_limits_sync_runs(system: LiveSystem) -> None:
    lane = Lane("default", Kind.MODEL, SYNC_ONLY)
    await system.store.holds.remember_sync_only(lane, 4e9)
    async with system.worker(lane_caps={str(lane): 1}, shutdown_grace_s=0.1):
        await _enqueue_many(system, "k", 3, SYNC_ONLY, duration_s=60)
        await system.until("k0", State.RUNNING)
        await system.until(await system.enqueue(label="other"), State.SUCCEEDED)
        assert await _states(system, "k", 3) == {State.RUNNING: 1, State.QUEUED: 2}
