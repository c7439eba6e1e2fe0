"""Webhooks end to end: the sandbox delivers, the API stores, a worker settles."""

import asyncio
import time

import pytest
from aiohttp import web

from jobs.effects import PollHistory
from jobs.indexes import Index
from jobs.job import Job
from jobs.outcomes import PollOutcome
from jobs.states import State
from tests.engine.live_system import OPERATOR, wait_until
from tests.store.redis_contents import everything
from tests.webhooks.webhook_system import WebhookSystem, delivery
from worker.api.webhook_receiver import ReceiptOutcome, WebhookReceiver
from worker.app.erasure import PayloadErasure
from worker.clock import SystemClock
from worker.engine.services import webhook_processor
from worker.engine.services.poller import Poller
from worker.store.commit import VersionedJob
from worker.store.webhooks import WebhookStore

NEVER_S = 20.0
"""No run is polled earlier than this by itself."""


async def test_a_run_is_settled_by_its_webhook_without_a_poll(hooked: WebhookSystem) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", duration_s=0.2)
        job = await hooked.system.until(job_id)
    assert job.state is State.SUCCEEDED
    assert job.expects_webhook
    assert job.attempts[-1].polls == 0
    ledger = await hooked.system.ledger("a")
    assert (ledger["posts"], ledger["polls"]) == (1, 0)
    details = await hooked.system.queries.job(job_id)
    assert details is not None
    assert details.payloads.result
    await hooked.until_empty()
    assert await hooked.orphans() == []


async def test_a_failed_run_is_retried_by_its_webhook(hooked: WebhookSystem) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", fault="fails", times=1)
        job = await hooked.system.until(job_id)
    assert [attempt.outcome for attempt in job.attempts] == ["failed", "succeeded"]
    assert (await hooked.system.ledger("a"))["polls"] == 0


async def test_two_hundred_runs_a_fifth_of_them_delivered_twice_settle_once_each(
    hooked: WebhookSystem,
) -> None:
    system = hooked.system
    await system.sandbox_admin("webhook", doubled=0.2, jitter_s=0.2)
    async with hooked.worker():
        ids = [f"j{number}" for number in range(200)]
        await asyncio.gather(*(system.enqueue(job_id=i, duration_s=0.1) for i in ids))
        await wait_until(lambda: _succeeded(hooked, 200), "200 jobs succeeded")
        sent = await _deliveries_over(hooked)
        await hooked.until_empty()
    jobs = await system.jobs_matching()
    assert sent > 210
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert all(_times(job, "succeed") == 1 for job in jobs)
    labels = await system.labels()
    assert {(row["posts"], row["charged"]) for row in labels.values()} == {(1, 1)}
    polls = sum(row["polls"] for row in labels.values())
    assert polls <= len(ids) // 10, "some are polled until the first delivery has come"
    assert await hooked.orphans() == []


async def _succeeded(hooked: WebhookSystem, count: int) -> bool:
    return (await hooked.system.counts()).get(State.SUCCEEDED) == count


async def _deliveries_over(hooked: WebhookSystem) -> int:
    """Wait until the sandbox has nothing left to deliver; returns how many it sent."""

    async def over() -> bool:
        async with hooked.system.http.get(f"{hooked.system.sandbox_url}/_sandbox/state") as answer:
            return not (await answer.json())["agenda"]

    await wait_until(over, "every delivery")
    return (await hooked.delivered())["sent"]


def _times(job: Job, event: str) -> int:
    return [event.name for event in job.events].count(event)


async def test_a_delivery_that_overtakes_the_submits_answer_waits_for_its_job(
    hooked: WebhookSystem,
) -> None:
    async with hooked.worker():
        ids = [
            await hooked.system.enqueue(label=f"e{n}", webhook={"early": True}) for n in range(10)
        ]
        jobs = await hooked.system.all_until(ids, within_s=NEVER_S)
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert {job.attempts[-1].polls for job in jobs} == {0}
    await hooked.until_empty()
    assert await hooked.orphans() == []


async def test_an_early_delivery_is_processed_as_soon_as_its_job_is_accepted(
    hooked: WebhookSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when it is next matched by itself: that is delayed here for good."""
    webhooks = hooked.system.store.webhooks
    receive = WebhookReceiver.receive

    async def receive_and_delay(receiver: WebhookReceiver, request: web.Request) -> ReceiptOutcome:
        outcome = await receive(receiver, request)
        await wait_until(lambda: _is_kept(hooked), "it is an orphan")
        (execution_id,) = await hooked.orphans()
        assert await webhooks.make_due(execution_id, time.time() + 1000)
        return outcome

    monkeypatch.setattr(WebhookReceiver, "receive", receive_and_delay)
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", webhook={"early": True})
        job = await hooked.system.until(job_id)
    assert (job.state, job.attempts[-1].polls) == (State.SUCCEEDED, 0)
    assert await hooked.orphans() == []


async def _is_kept(hooked: WebhookSystem) -> bool:
    return bool(await hooked.orphans())


async def test_without_an_announced_webhook_no_delivery_is_looked_up(
    hooked: WebhookSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    async def make_due(_: WebhookStore, execution_id: str, now: float) -> bool:
        del now
        looked_up.append(execution_id)
        return False

    monkeypatch.setattr(WebhookStore, "make_due", make_due)
    async with hooked.worker():
        delivered = await hooked.system.until(await hooked.system.enqueue(label="a"))
        await hooked.system.sandbox_admin("webhook", url=None)
        polled = await hooked.system.until(await hooked.system.enqueue(label="b"))
    assert looked_up == [delivered.execution_id]
    assert polled.attempts[-1].polls > 0


async def test_a_late_delivery_changes_nothing(hooked: WebhookSystem) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", webhook={"delay_s": 0.6})
        await asyncio.sleep(0.2)
        await hooked.poll_now(job_id)
        settled = await hooked.system.until(job_id)
        assert settled.attempts[-1].polls == 1
        await hooked.until_delivered(1)
        await hooked.until_empty()
        assert await hooked.system.job(job_id) == settled
        assert await hooked.orphans() == []


async def test_a_lost_delivery_is_replaced_by_the_safety_poll(hooked: WebhookSystem) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", webhook={"lost": True})
        running = await hooked.system.until(job_id, State.RUNNING)
        assert running.next_poll_at is not None
        assert running.submitted_at is not None
        assert running.next_poll_at - running.submitted_at > NEVER_S
        await asyncio.sleep(0.1)
        await hooked.poll_now(job_id)
        assert (await hooked.system.until(job_id)).state is State.SUCCEEDED


async def test_without_deliveries_polls_are_the_usual_ones_until_one_comes(
    hooked: WebhookSystem,
) -> None:
    system = hooked.system
    await system.sandbox_admin("webhook", lost=1.0)
    async with hooked.worker():
        for number in range(3):
            job_id = await system.enqueue(label=f"lost-{number}")
            await system.until(job_id, State.RUNNING)
            await asyncio.sleep(0.1)
            await hooked.poll_now(job_id)
            await system.until(job_id)
        polled = await system.until(await system.enqueue(label="polled"), within_s=5)
        assert polled.attempts[-1].polls > 0
        await system.sandbox_admin("webhook", lost=0.0)
        delivered = await system.enqueue(label="delivered", duration_s=600)
        await system.until(delivered, State.RUNNING)
        await hooked.post(delivery((await system.job(delivered)).execution_id))
        await system.until(delivered)
        again = await system.until(await system.enqueue(label="x", duration_s=60), State.RUNNING)
    assert again.next_poll_at is not None
    assert again.next_poll_at - again.updated_at > NEVER_S


async def test_of_contradicting_deliveries_the_first_counts(hooked: WebhookSystem) -> None:
    job_id = await hooked.system.enqueue(label="a", duration_s=600)
    async with hooked.worker():
        job = await hooked.system.until(job_id, State.RUNNING)
    await hooked.post(delivery(job.execution_id, "execution.cancelled", result=None))
    await hooked.post(delivery(job.execution_id, "execution.completed"))
    async with hooked.worker():
        assert (await hooked.system.until(job_id)).state is State.CANCELLED
        await hooked.until_empty()
        assert (await hooked.system.job(job_id)).state is State.CANCELLED


@pytest.mark.parametrize("lost", [False, True])
async def test_a_cancelled_run_is_delivered_or_polled_as_usual(
    hooked: WebhookSystem, *, lost: bool
) -> None:
    async with hooked.worker():
        webhook = {"lost": lost}
        job_id = await hooked.system.enqueue(
            label="a", duration_s=600, cancel_s=0.2, webhook=webhook
        )
        await hooked.system.until(job_id, State.RUNNING)
        await hooked.call("POST", f"jobs/{job_id}/cancel")
        assert (await hooked.system.until(job_id)).state is State.CANCELLED


async def test_deliveries_wait_for_a_worker(hooked: WebhookSystem) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", duration_s=0.6)
        await hooked.system.until(job_id, State.RUNNING)
    await hooked.until_delivered(1)
    assert (await hooked.system.job(job_id)).state is State.RUNNING
    async with hooked.worker():
        job = await hooked.system.until(job_id)
    assert job.state is State.SUCCEEDED
    assert await hooked.inbox_size() == 0


async def test_deliveries_that_a_dead_worker_claimed_are_processed_by_another(
    hooked: WebhookSystem,
) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", duration_s=600)
        job = await hooked.system.until(job_id, State.RUNNING)
    await hooked.post(delivery(job.execution_id))
    now = time.time()
    claimed = await hooked.system.store.webhooks.claim(now + 1, now + 1.5, 10)
    assert [deliveries.jobs for deliveries in claimed] == [(job_id,)]
    async with hooked.worker():
        job = await hooked.system.until(job_id)
    assert job.state is State.SUCCEEDED
    assert job.finished_at is not None
    assert job.finished_at > now + 1.5


async def test_a_delivery_whose_processing_failed_is_processed_again(
    hooked: WebhookSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, errors = Poller.apply_outcome, [ConnectionError("Redis went away")]

    async def fail_once(
        poller: Poller, stored: VersionedJob, answer: PollOutcome, history: PollHistory
    ) -> VersionedJob | None:
        if errors:
            raise errors.pop()
        return await apply(poller, stored, answer, history)

    monkeypatch.setattr(Poller, "apply_outcome", fail_once)
    async with hooked.worker(lease_s=0.5):
        job_id = await hooked.system.enqueue(label="a")
        assert (await hooked.system.until(job_id)).attempts[-1].polls == 0
    assert not errors


async def test_a_delivery_that_makes_our_own_code_raise_quarantines_its_job(
    hooked: WebhookSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(Poller, "apply_outcome", fail)
    async with hooked.worker(lease_s=0.3):
        job = await hooked.system.until(await hooked.system.enqueue(label="a"))
        await hooked.until_empty()
    assert job.reason is not None
    assert (job.state, job.reason.code) == (State.DEAD, "INTERNAL_ERROR")


async def test_workers_are_woken_and_do_not_only_poll(
    hooked: WebhookSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_processor, "TICK_S", 600.0)
    async with hooked.worker():
        job = await hooked.system.until(await hooked.system.enqueue(label="a", duration_s=0.3))
    assert job.attempts[-1].polls == 0


async def test_a_run_found_running_by_the_safety_poll_is_polled_late_again(
    hooked: WebhookSystem,
) -> None:
    store = hooked.system.store
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", duration_s=600)
        await hooked.poll_now(job_id)

        async def polled() -> bool:
            return (await store.polls.history(await hooked.system.job(job_id))).polls == 1

        await wait_until(polled, "it was polled")
    inflight = store.keys.index(Index.INFLIGHT)
    at = float(await store.client.call("ZSCORE", inflight, job_id))
    assert at > time.time() + NEVER_S


async def test_an_early_delivery_of_a_run_that_a_poll_settled_is_no_orphan(
    hooked: WebhookSystem,
) -> None:
    await hooked.post(delivery("ex-1"))
    assert await hooked.system.store.webhooks.record_run_end("ex-1")
    async with hooked.worker():
        await hooked.until_empty()
    assert await hooked.orphans() == []


async def test_a_delivery_processed_twice_is_no_orphan(hooked: WebhookSystem) -> None:
    """A worker died after it had settled the job, and before it removed the delivery."""
    system = hooked.system
    async with hooked.worker():
        job_id = await system.enqueue(label="a", duration_s=600)
        job = await system.until(job_id, State.RUNNING)
    execution_id = job.execution_id or ""
    await hooked.post(delivery(execution_id))
    client, key = system.store.client, system.store.keys.delivery(execution_id)
    before: dict[bytes, bytes] = await client.call("HGETALL", key)
    async with hooked.worker():
        await system.until(job_id)
        await hooked.until_empty()
    await client.call("DEL", key)
    await client.call("HSET", key, *(part for field in before.items() for part in field))
    await client.call("ZADD", system.store.keys.inbox, 0, execution_id)
    async with hooked.worker():
        await hooked.until_empty()
    assert await hooked.orphans() == []
    assert _times(await system.job(job_id), "succeed") == 1


async def test_a_delivery_that_reports_no_end_makes_the_run_due_for_a_poll(
    hooked: WebhookSystem,
) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", duration_s=0.5, webhook={"lost": True})
        job = await hooked.system.until(job_id, State.RUNNING)
        await asyncio.sleep(0.6)
        await hooked.post(delivery(job.execution_id, "execution.paused"))
        done = await hooked.system.until(job_id)
    assert (done.state, done.attempts[-1].polls) == (State.SUCCEEDED, 1)


async def test_a_delivery_without_a_result_is_no_end_and_a_later_one_with_it_counts(
    hooked: WebhookSystem,
) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", duration_s=600, webhook={"lost": True})
        job = await hooked.system.until(job_id, State.RUNNING)
        await hooked.post(delivery(job.execution_id, result=None))
        await hooked.until_empty()
        assert (await hooked.system.job(job_id)).state is State.RUNNING
        await hooked.post(delivery(job.execution_id))
        assert (await hooked.system.until(job_id)).state is State.SUCCEEDED


async def test_a_run_past_its_deadline_is_settled_by_its_webhook(hooked: WebhookSystem) -> None:
    async with hooked.worker():
        job_id = await hooked.system.enqueue(label="a", duration_s=600, deadline_s=0.5)
        stuck = await hooked.system.until(job_id)
        assert stuck.parked_as == "stuck"
        await hooked.post(delivery(stuck.execution_id))
        done = await hooked.system.until(job_id, State.SUCCEEDED)
    assert done.reason is None


async def test_what_a_run_makes_whose_job_was_erased_meanwhile_is_not_kept(
    hooked: WebhookSystem,
) -> None:
    """Its end counts, its result does not; nor does a delivery about it that comes even later."""
    system = hooked.system
    erasure = PayloadErasure(system.store, SystemClock())
    async with hooked.worker():
        job_id = await system.enqueue(label="a", duration_s=3.0, deadline_s=1.0)
        await system.until(job_id, State.PARKED)
        await erasure.erase(job_id, OPERATOR, force=True)
        await system.until(job_id, State.SUCCEEDED)
        job = await system.job(job_id)
        await hooked.until_empty()
        failed = delivery(job.execution_id, "execution.failed", error={"message": "a secret cat"})
        assert (await hooked.post(failed)).doc["outcome"] in ("stored", "ended", "known")
        await hooked.until_empty()
    assert (await system.store.payloads.read(job_id)).result is None
    assert await hooked.orphans() == []
    kept = [key for key in await everything(system.store) if b"secret" in repr(key).encode()]
    assert kept == []
