"""The life of a job beyond the error table: modes, lanes, holds, actions, arq, retention."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest
from arq import ArqRedis
from pydantic import SecretStr
from redis.exceptions import OutOfMemoryError

from jobs.error_table import KEYLESS_SCOPE
from jobs.holds import HoldPhase
from jobs.job import UNCERTAIN
from jobs.lanes import JobId, Lane, Scope
from jobs.lifecycle import IllegalTransition
from jobs.states import Kind, Mode, OnUncertain, State
from tests.engine.live_system import OPERATOR, LiveSystem, wait_until
from tests.store.redis_contents import latest_audit_entries
from worker.app.action_table import JobAction
from worker.app.actions import Actor
from worker.engine import keyless_lanes
from worker.redis.connect import connect
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused, JobStore


async def test_an_async_run_is_polled_to_its_result_and_cost(system: LiveSystem) -> None:
    async with system.worker():
        job_id = await system.enqueue(label="it", duration_s=0.3, cost=7)
        job = await system.until(job_id)
    assert (job.state, job.mode, job.cost) == (State.SUCCEEDED, Mode.ASYNC, 7)
    assert job.execution_id
    assert job.attempts[0].polls >= 1
    whole = await system.queries.job(job_id)
    assert whole is not None
    assert whole.payloads.result is not None
    assert "images" in msgspec.json.decode(whole.payloads.result)
    counted = await system.ledger("it")
    assert (counted["posts"], counted["started"], counted["charged"]) == (1, 1, 1)


async def test_a_sync_only_target_is_asked_async_once_and_remembered(system: LiveSystem) -> None:
    async with system.worker():
        first = await system.until(await system.enqueue("kling-2-5", label="first"))
        second = await system.until(await system.enqueue("kling-2-5", label="second"))
    assert (first.state, first.mode, first.spent) == (State.SUCCEEDED, Mode.SYNC, 0)
    assert len(first.attempts) == 1, "the fallback is the same attempt"
    assert second.mode is Mode.SYNC
    assert (await system.ledger("first"))["posts"] == 2
    assert (await system.ledger("second"))["posts"] == 1


async def test_a_workflow_runs_like_a_model(system: LiveSystem) -> None:
    async with system.worker():
        job = await system.until(
            await system.enqueue("product-shots", kind=Kind.WORKFLOW, label="it")
        )
    assert job.state is State.SUCCEEDED


async def test_a_402_parks_one_job_and_the_200_behind_it_are_never_sent(system: LiveSystem) -> None:
    await system.sandbox_admin("topup", balance=0)
    async with system.worker():
        canary = await system.until(await system.enqueue(label="first"))
        assert canary.state is State.PARKED
        assert canary.reason is not None
        assert "top up" in canary.reason.action.lower()
        others = [system.request(label=f"other-{n}") for n in range(200)]
        await system.enqueuer.enqueue_many([(JobId(f"o{n}"), o) for n, o in enumerate(others)])
        late = await system.enqueue(label="late", account="studio")
        await system.until(late, State.SUCCEEDED)
        counts = await system.counts()
        assert counts[State.QUEUED] == 200
        assert set(await system.labels()) == {"first", "late"}, "another account is not held"

        await system.sandbox_admin("topup", credits=10**6)
        (hold,) = await system.store.holds.list_all()
        _, freed = await system.actions.release_hold(hold.id, OPERATOR)
        assert freed == 1
        ids = [canary.id, *(f"o{n}" for n in range(200))]
        done = await system.all_until(ids, within_s=40)
        assert {job.state for job in done} == {State.SUCCEEDED}
        assert not await system.store.holds.list_all(), "the gate is fully open"
    posts = await system.labels()
    assert posts["first"]["posts"] == 2
    assert all(posts[f"other-{n}"]["posts"] == 1 for n in range(200))


async def test_a_release_that_helps_nothing_costs_one_request(system: LiveSystem) -> None:
    await system.sandbox_admin("topup", balance=0)
    async with system.worker():
        first = await system.until(await system.enqueue(label="first"))
        await system.enqueuer.enqueue_many(
            [(None, system.request(label=f"other-{n}")) for n in range(50)]
        )
        (hold,) = await system.store.holds.list_all()
        await system.actions.release_hold(hold.id, OPERATOR)

        async def relapsed() -> bool:
            found = await system.store.holds.find(hold.id)
            return found is not None and found.relapses == 1

        async def parked_again() -> bool:
            return (await system.counts()) == {State.QUEUED: 50, State.PARKED: 1}

        await wait_until(relapsed, "the hold is back")
        await wait_until(parked_again, "the canary is parked, the others are queued")
    assert first.reason is not None
    assert sum(label["posts"] for label in (await system.labels()).values()) == 2


async def test_grant_exhausted_holds_one_model_and_lets_others_through(system: LiveSystem) -> None:
    async with system.worker():
        held = await system.until(await system.enqueue(label="a", fault="grant_exhausted"))
        behind = await system.enqueue(label="b")
        other = await system.until(await system.enqueue("suno", label="c"))
        assert other.state is State.SUCCEEDED
        assert (await system.job(behind)).state is State.QUEUED
    assert held.reason is not None
    assert "top-up does not help" in held.reason.action
    assert (await system.ledger("b"))["posts"] == 0


async def test_one_job_released_through_a_closed_gate_is_sent_alone(system: LiveSystem) -> None:
    async with system.worker():
        first = await system.until(
            await system.enqueue(label="a", fault="MODEL_TIER_REQUIRED", times=1)
        )
        behind = await system.enqueue(label="b")
        await system.actions.act(JobAction.RELEASE, first.id, OPERATOR)
        done = await system.until(first.id, State.SUCCEEDED)
        assert (await system.job(behind)).state is State.QUEUED
        assert len(await system.store.holds.list_all()) == 1
    assert done.spent == 0


async def test_a_pause_keeps_jobs_queued_and_its_release_sends_them(system: LiveSystem) -> None:
    async with system.worker():
        hold = await system.actions.place_hold(Scope("default/model"), OPERATOR)
        job_id = await system.enqueue(label="it")
        workflow = await system.enqueue("my-pipeline", kind=Kind.WORKFLOW, label="other")
        await system.until(workflow, State.SUCCEEDED)
        blockers = await system.queries.why(await system.job(job_id))
        assert blockers[0].kind == "hold"
        assert blockers[0].hold_id == hold.id
        await system.actions.release_hold(hold.id, OPERATOR)
        await system.until(job_id, State.SUCCEEDED)


async def test_only_an_operator_frees_the_parked(system: LiveSystem) -> None:
    """No restart, no success of another job, no pruner."""
    async with system.worker(retention_s=0.001):
        parked = await system.until(await system.enqueue(label="a", fault="MODEL_TIER_REQUIRED"))
        dead = await system.until(await system.enqueue("suno", label="b", fault="INVALID_INPUTS"))
    async with system.worker(retention_s=0.001):
        await system.until(await system.enqueue("seedance-2-0", label="c", duration_s=0.5))
    assert (await system.job(parked.id)).state is State.PARKED
    assert (await system.job(dead.id)).state is State.DEAD
    assert (await system.ledger("a"))["posts"] == 1


async def test_higher_priority_goes_first_and_lanes_take_turns(system: LiveSystem) -> None:
    hold = await system.actions.place_hold(Scope("default"), OPERATOR)
    wanted = [("gpt-image-2", 0), ("gpt-image-2", 0), ("suno", 0), ("suno", 0), ("gpt-image-2", 5)]
    ids = [
        await system.enqueue(target, label=f"{n}", priority=priority)
        for n, (target, priority) in enumerate(wanted)
    ]
    async with system.worker(max_jobs=1):
        await system.actions.release_hold(hold.id, OPERATOR)
        done = await system.all_until(ids)
    sent = sorted(done, key=lambda job: job.submitted_at or 0.0)
    assert sent[0].id == ids[4]
    assert [job.target for job in sent[1:]] in (
        ["suno", "gpt-image-2"] * 2,
        ["gpt-image-2", "suno"] * 2,
    )


async def test_a_lane_never_runs_more_than_its_cap(system: LiveSystem) -> None:
    async with system.worker(lane_caps={"default/model/suno": 2}):
        ids = [
            await system.enqueue("suno", label=f"{n}", duration_s=0.3, cancel_s=0) for n in range(8)
        ]
        done = await system.all_until(ids)
    begun = sorted((job.submitted_at or 0.0, job.finished_at or 0.0) for job in done)
    for start, _ in begun:
        assert sum(s <= start < e for s, e in begun) <= 2


async def test_a_scheduled_job_waits_for_its_time(system: LiveSystem) -> None:
    async with system.worker():
        job_id = await system.enqueue(label="it", delay_s=0.6)
        assert (await system.job(job_id)).state is State.SCHEDULED
        job = await system.until(job_id, State.SUCCEEDED)
    assert job.scheduled_for is not None
    sent = next(event.at for event in job.events if event.name == "send")
    assert sent >= job.scheduled_for


async def test_cancel_of_a_queued_job_sends_nothing(system: LiveSystem) -> None:
    job_id = await system.enqueue(label="it")
    cancelled = await system.actions.act(JobAction.CANCEL, job_id, OPERATOR)
    assert cancelled.state is State.CANCELLED
    async with system.worker():
        await system.until(await system.enqueue(label="other"))
    assert (await system.ledger("it"))["posts"] == 0


async def test_cancel_of_a_running_job_is_confirmed_by_the_provider(system: LiveSystem) -> None:
    async with system.worker():
        job_id = await system.enqueue(label="it", duration_s=30, cancel_s=0.2)
        await system.until(job_id, State.RUNNING)
        assert (
            await system.actions.act(JobAction.CANCEL, job_id, OPERATOR)
        ).state is State.CANCELLING
        job = await system.until(job_id)
    assert job.state is State.CANCELLED
    assert (await system.ledger("it"))["cancels"] == 1


async def test_a_run_that_finished_before_its_cancel_succeeds(system: LiveSystem) -> None:
    async with system.worker():
        job_id = await system.enqueue(
            label="it", duration_s=30, cancel={"fault": "cancel_completed"}
        )
        await system.until(job_id, State.RUNNING)
        await system.actions.act(JobAction.CANCEL, job_id, OPERATOR)
        job = await system.until(job_id)
    assert job.state is State.SUCCEEDED


async def test_a_lost_answer_parks_and_attach_fetches_its_result(system: LiveSystem) -> None:
    async with system.worker():
        job = await system.until(await system.enqueue(label="it", fault="drop_after"))
        assert job.parked_as == UNCERTAIN
        with pytest.raises(IllegalTransition, match="resolve it"):
            await system.actions.act(JobAction.RELEASE, job.id, OPERATOR)
        async with system.http.get(
            f"{system.sandbox_url}/_sandbox/executions", params={"label": "it"}
        ) as answer:
            (execution,) = (await answer.json())["items"]
        await system.actions.act(JobAction.ATTACH, job.id, OPERATOR, execution_id=execution["id"])
        done = await system.until(job.id, State.SUCCEEDED)
    assert done.execution_id == execution["id"]
    assert done.cost is not None
    counted = await system.ledger("it")
    assert (counted["posts"], counted["started"]) == (1, 1)


async def test_an_operator_resolves_by_resubmit_or_discard(system: LiveSystem) -> None:
    async with system.worker():
        again = await system.until(await system.enqueue(label="a", fault="drop_after", times=1))
        never = await system.until(await system.enqueue(label="b", fault="drop_after"))
        await system.actions.act(JobAction.RESUBMIT, again.id, OPERATOR)
        await system.until(again.id, State.SUCCEEDED)
        gone = await system.actions.act(JobAction.DISCARD, never.id, OPERATOR)
    assert gone.state is State.CANCELLED
    assert (await system.ledger("a"))["started"] == 2
    assert (await system.ledger("b"))["started"] == 1


async def test_on_uncertain_retry_is_the_jobs_own_risk(system: LiveSystem) -> None:
    async with system.worker():
        job_id = await system.enqueue(
            label="it", fault="drop_after", times=1, on_uncertain=OnUncertain.RETRY
        )
        job = await system.until(job_id)
    assert (job.state, job.spent) == (State.SUCCEEDED, 1)
    assert (await system.ledger("it"))["started"] == 2


async def test_a_run_past_its_deadline_parks_as_stuck_and_still_succeeds(
    system: LiveSystem,
) -> None:
    async with system.worker():
        job_id = await system.enqueue(label="it", deadline_s=0.3, fault="stuck")
        job = await system.until(job_id)
        assert (job.state, job.parked_as) == (State.PARKED, "stuck")
        await system.sandbox_admin("finish", label="it")
        await system.actions.act(JobAction.RELEASE, job_id, OPERATOR)
        done = await system.until(job_id, State.SUCCEEDED)
    assert done.spent == 0
    assert (await system.ledger("it"))["posts"] == 1


async def test_a_dead_letter_is_requeued_with_edited_inputs_and_its_history(
    system: LiveSystem,
) -> None:
    async with system.worker():
        dead = await system.until(await system.enqueue(label="bad", fault="INVALID_INPUTS"))
        assert dead.state is State.DEAD
        inputs = system.request(label="good").inputs
        await system.actions.act(JobAction.REQUEUE, dead.id, OPERATOR, inputs=inputs)
        done = await system.until(dead.id, State.SUCCEEDED)
    assert [attempt.outcome for attempt in done.attempts] == ["failed", "succeeded"]
    assert (await system.ledger("good"))["posts"] == 1
    acts = await latest_audit_entries(system.store, 10)
    assert [(act["act"], act["by"], act["jobs"]) for act in acts] == [("requeue", "somebody", "1")]


async def test_a_result_too_large_keeps_its_head_and_the_success(system: LiveSystem) -> None:
    async with system.worker(max_result_bytes=2000):
        job = await system.until(await system.enqueue(label="it", result_bytes=50_000))
    assert job.state is State.SUCCEEDED
    assert job.result_note is not None
    whole = await system.queries.job(job.id)
    assert whole is not None
    assert whole.payloads.result is not None
    kept = msgspec.json.decode(whole.payloads.result)
    assert kept["truncated"] is True
    assert kept["bytes"] >= 50_000
    assert (await system.ledger("it"))["posts"] == 1


async def test_retention_removes_the_settled_with_every_trace(system: LiveSystem) -> None:
    async with system.worker(retention_s=0.001):
        job_id = await system.enqueue(label="it", tags=("t",), batch="b")
        await system.until(job_id)
    async with system.worker(retention_s=0.001):

        async def pruned() -> bool:
            return await system.store.jobs.load(job_id) is None

        await wait_until(pruned, "the pruner has been there")
    assert await system.indexes_with(job_id) == []


async def test_accounts_without_a_key_park_behind_one_hold_that_says_so(
    system: LiveSystem, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyless_lanes, "GRACE_S", 0.0)
    arq = connect(system.settings, redis_url)
    for name in ("nobody", "nobody-else"):
        await arq.enqueue_job("run_model", "suno", {"prompt": "x"}, _job_id=name, account=name)
    await arq.aclose(close_connection_pool=True)
    async with system.worker():
        for name in ("nobody", "nobody-else"):
            await system.until_on_record(name)
        jobs = [await system.until(name, State.PARKED) for name in ("nobody", "nobody-else")]
        honest = await system.until(await system.enqueue(label="it"))
        assert await system.store.accounts.known() == {"default", "studio"}
    (hold,) = await system.store.holds.list_all()
    assert (hold.code, hold.phase) == ("no_key", HoldPhase.CLOSED)
    for job in jobs:
        assert job.reason is not None
        assert (job.reason.code, job.reason.hold_id) == ("no_key", hold.id)
        assert job.account in job.reason.message
        assert "KNOUDS_API_KEYS" in job.reason.action
        assert job.attempts == ()
    assert honest.state is State.SUCCEEDED
    released, count = await system.actions.release_hold(hold.id, Actor("ann"))
    assert (released.id, count) == (hold.id, 2)
    async with system.worker(api_keys={"nobody": SecretStr("knouds_live_business")}):
        await system.until("nobody", State.RUNNING, State.SUCCEEDED)
        assert (await system.until("nobody-else", State.PARKED)).parked_as == "no_key"


async def test_a_key_that_is_taken_away_after_admission_parks_the_same_way(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyless_lanes.KeylessLanes, "own", _every_lane)
    async with system.worker():
        job = await system.until(await system.enqueue(label="it", account="nobody"))
    assert job.parked_as == "no_key"
    assert [hold.scope for hold in await system.store.holds.list_all()] == [KEYLESS_SCOPE]


async def _every_lane(_: object, lanes: tuple[Lane, ...], now: float) -> tuple[Lane, ...]:
    del now
    return lanes


# Plain arq.


async def test_jobs_enqueued_with_plain_arq_are_ingested(
    system: LiveSystem, redis_url: str
) -> None:
    arq = connect(system.settings, redis_url)
    inputs = msgspec.json.decode(system.request(label="it").inputs)
    for _ in range(2):
        await arq.enqueue_job("run_model", "gpt-image-2", inputs, _job_id="mine", priority=3)
    await arq.enqueue_job(
        "run_workflow", "my-pipeline", {"sandbox": {"label": "wf", "duration_s": 0.05}}
    )
    async with system.worker():
        await system.until_on_record("mine")
        job = await system.until("mine", State.SUCCEEDED)

        async def both() -> bool:
            return (await system.counts()).get(State.SUCCEEDED) == 2

        await wait_until(both, "the workflow too")
        await arq.enqueue_job("run_model", "gpt-image-2", inputs, _job_id="mine", priority=3)
        again = await system.until(await system.enqueue(label="last"))
    await arq.aclose(close_connection_pool=True)
    assert again.state is State.SUCCEEDED
    assert job.priority == 3
    assert (await system.ledger("it"))["posts"] == 1


@pytest.mark.parametrize(
    ("error", "pause"),
    [(OutOfMemoryError("OOM"), "REDIS_RETRY_S"), (ZeroDivisionError(), "FAILED_RETRY_S")],
    ids=["Redis refuses", "a fault of ours"],
)
async def test_a_job_of_plain_arq_that_cannot_be_enqueued_now_is_enqueued_later(
    system: LiveSystem,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    pause: str,
) -> None:
    """Arq itself would forget it: its own retries are switched off."""
    create, refused = JobStore.create_if, asyncio.Event()

    async def refuses_once(jobs: JobStore, *args: Any) -> VersionedJob | CommitRefused:
        if refused.is_set():
            return await create(jobs, *args)
        refused.set()
        raise error

    monkeypatch.setattr(JobStore, "create_if", refuses_once)
    monkeypatch.setattr(f"worker.main.{pause}", 0.2)
    arq = connect(system.settings, redis_url)
    inputs = msgspec.json.decode(system.request(label="it").inputs)
    await arq.enqueue_job("run_model", "gpt-image-2", inputs, _job_id="mine")
    async with system.worker():
        await system.until_on_record("mine")
        await system.until("mine", State.SUCCEEDED)
    await arq.aclose(close_connection_pool=True)
    assert refused.is_set()


BAD_CALLS: list[tuple[str, tuple[object, ...], dict[str, object], str]] = [
    ("run_model", ("gpt-image-2", [1, 2]), {}, "inputs"),
    ("run_model", ("Bad Slug!", {}), {}, "target"),
    ("run_model", ("gpt-image-2", {}), {"priority": "high"}, "priority"),
    ("run_model", ("gpt-image-2", {}), {"colour": "red"}, "colour"),
    ("run_model", ("gpt-image-2",), {}, "target and inputs"),
    ("run_everything", ("gpt-image-2", {}), {}, "run_everything"),
]


@pytest.mark.parametrize(("function", "args", "options", "field"), BAD_CALLS)
async def test_a_bad_arq_call_becomes_a_dead_letter_that_names_the_field(  # noqa: PLR0917
    system: LiveSystem,
    redis_url: str,
    function: str,
    args: tuple[object, ...],
    options: dict[str, object],
    field: str,
) -> None:
    arq = connect(system.settings, redis_url)
    await arq.enqueue_job(function, *args, _job_id="bad", **options)  # type: ignore[arg-type]
    async with system.worker():
        job = await system.until_on_record("bad")
        good = await system.until(await system.enqueue(label="good"))
    await arq.aclose(close_connection_pool=True)
    assert good.state is State.SUCCEEDED, "others go on"
    assert job.state is State.DEAD
    assert job.reason is not None
    assert field in job.reason.message


async def test_an_unreadable_arq_entry_is_kept_and_stops_nobody(
    system: LiveSystem, redis: ArqRedis
) -> None:
    queue = f"{system.settings.namespace}:queue"
    await redis.set("arq:job:pickled", b"\x80\x04\x95nonsense")
    await redis.zadd(queue, {"pickled": 1})
    async with system.worker():
        dead = await system.until_on_record("pickled")
        good = await system.until(await system.enqueue(label="good"))
    assert dead.state is State.DEAD
    assert good.state is State.SUCCEEDED


# Several workers.


async def test_500_jobs_over_two_workers_are_each_submitted_once(system: LiveSystem) -> None:
    async with system.processes(2):
        requests = [(JobId(f"j{n}"), system.request(label=f"j{n}")) for n in range(500)]
        await system.enqueuer.enqueue_many(requests)
        done = await system.all_until([f"j{n}" for n in range(500)], within_s=60)
    assert {job.state for job in done} == {State.SUCCEEDED}
    counted = await system.labels()
    assert {label["posts"] for label in counted.values()} == {1}
    assert len(counted) == 500


async def test_a_worker_takes_what_another_has_no_slots_for(system: LiveSystem) -> None:
    async with system.processes(2, sync_runs=3, shutdown_grace_s=0.1):
        for n in range(6):
            await system.enqueue("kling-2-5", job_id=f"j{n}", duration_s=60)
        running = [await system.until(f"j{n}", State.RUNNING) for n in range(6)]
    owners = Counter(job.owner for job in running)
    assert sorted(owners.values()) == [3, 3]
