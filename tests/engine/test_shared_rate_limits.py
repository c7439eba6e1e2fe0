"""The provider's rate limits: used by all workers together, never exceeded, urgent jobs first."""

from typing import Any

from jobs.lanes import JobId, Scope
from jobs.rate_limits import URGENT_RESERVE
from jobs.states import State
from tests.engine.live_system import LiveSystem, wait_until

WINDOW_S = 2.0
LONG_S = 600


async def statuses(system: LiveSystem, kind: str) -> dict[str, int]:
    """Requests of a kind, by the status of their response."""
    async with system.http.get(f"{system.sandbox_url}/_sandbox/ledger") as answer:
        found: dict[str, int] = (await answer.json())["requests"].get(kind, {})
        return found


async def enqueue_many(system: LiveSystem, count: int, **wanted: Any) -> list[str]:
    requests = [system.request(label=f"n{n}", **wanted) for n in range(count)]
    placed = await system.enqueuer.enqueue_many(
        [(JobId(f"n{n}"), one) for n, one in enumerate(requests)]
    )
    assert not [one for one in placed if isinstance(one, Exception)]
    return [f"n{n}" for n in range(count)]


async def test_two_workers_spend_a_limit_together_and_no_request_is_refused(
    system: LiveSystem,
) -> None:
    await system.sandbox_admin("limits", route="model", limit=15, window_s=WINDOW_S)
    ids = await enqueue_many(system, 38)
    async with (
        system.worker(rate_window_s=WINDOW_S),
        system.worker(rate_window_s=WINDOW_S),
    ):
        jobs = await system.all_until(ids, within_s=40)
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert await statuses(system, "run.model") == {"200": 38}
    submitted = sorted(job.submitted_at or 0.0 for job in jobs)
    usable = 15 - URGENT_RESERVE
    for first, last in zip(submitted, submitted[usable:], strict=False):
        assert last - first > WINDOW_S / 2, "more than a window's worth in one window"


async def test_what_is_reserved_goes_to_the_urgent_at_once(system: LiveSystem) -> None:
    await system.sandbox_admin("limits", route="model", limit=8, window_s=LONG_S)
    async with system.worker():
        ids = await enqueue_many(system, 10)

        async def spent() -> bool:
            return (await system.counts()).get(State.QUEUED) == 10 - (8 - URGENT_RESERVE)

        await wait_until(spent, "the usual share is spent")
        urgent = await system.enqueue(label="urgent", priority=5)
        await system.until(urgent, State.SUCCEEDED)
        assert await statuses(system, "run.model") == {"200": 4}
        waiting = await system.job(ids[-1])
        (blocker,) = await system.queries.why(waiting)
        assert blocker.kind == "line"
        assert "6 jobs before it" in blocker.text
        assert "min at 3 per 60 s" in blocker.text
        assert blocker.until is not None
        (lane,) = (await system.queries.stats()).drain_s.values()
        assert 60 < lane <= LONG_S + 120


async def test_a_429_closes_the_route_spends_no_attempt_and_one_request_opens_it(
    system: LiveSystem,
) -> None:
    await system.sandbox_admin(
        "faults", match={"route": "submit"}, fault="RATE_LIMIT_EXCEEDED", retry_after=1, times=1
    )
    async with system.worker():
        ids = await enqueue_many(system, 20)
        jobs = await system.all_until(ids)
    assert {(job.state, job.spent) for job in jobs} == {(State.SUCCEEDED, 0)}
    assert await statuses(system, "run.model") == {"200": 20, "429": 1}


async def test_another_tier_shows_and_is_used_at_once(system: LiveSystem) -> None:
    await system.sandbox_admin("limits", route="model", limit=7, window_s=WINDOW_S)
    async with system.worker(rate_window_s=WINDOW_S):
        ids = await enqueue_many(system, 60)
        await system.until(ids[0], State.SUCCEEDED)
        await system.sandbox_admin("limits", route="model", limit=100, window_s=WINDOW_S)
        jobs = await system.all_until(ids, within_s=20)
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert "429" not in await statuses(system, "run.model")


async def test_an_account_without_limits_keeps_no_account(system: LiveSystem) -> None:
    await system.sandbox_admin("limits", route="model", limit=0)
    async with system.worker():
        await system.all_until(await enqueue_many(system, 30))
        await system.store.client.call("CONFIG", "RESETSTAT")
        ids = [await system.enqueue(label=f"late-{n}") for n in range(5)]
        await system.all_until(ids)
    bucket = (await system.store.rate_limits.buckets())[Scope("default/model")]
    assert bucket.is_unlimited
    assert (bucket.in_flight, bucket.opening_requests) == (0, 0)


async def test_polls_keep_to_their_own_limit_and_every_run_is_polled_to_its_end(
    system: LiveSystem,
) -> None:
    await system.sandbox_admin("limits", route="execution", limit=20, window_s=WINDOW_S)
    async with system.worker(rate_window_s=WINDOW_S):
        ids = await enqueue_many(system, 40, duration_s=0.5)
        jobs = await system.all_until(ids, within_s=40)
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert "429" not in await statuses(system, "poll")


async def test_where_polls_and_submits_share_a_limit_paid_runs_are_polled_first(
    system: LiveSystem,
) -> None:
    await system.sandbox_admin("limits", route="account", limit=30, window_s=WINDOW_S)
    patient = {"poll_min_s": 1.0, "poll_max_s": 2.0}
    async with system.worker(rate_window_s=WINDOW_S, shared_quota=True, **patient):
        ids = await enqueue_many(system, 40, duration_s=0.5)
        jobs = await system.all_until(ids, within_s=60)
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert "429" not in await statuses(system, "run.model")
    assert "429" not in await statuses(system, "poll")
