"""`start_by` over HTTP: checked at enqueue, shown, and what an app hears when it has passed."""

from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from config.callback_hosts import CallbackHosts
from config.settings import Settings
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.job_factory import JobFactory
from tests.engine.callback_receiver import SECRET
from worker.app.callback_bodies import StoredCallbackBodies
from worker.app.rfc3339 import rfc3339
from worker.clock import SystemClock
from worker.engine.services.expirer import Expirer
from worker.store import Store


def at(seconds: float) -> str:
    """A time so far from now."""
    return rfc3339(SystemClock().now() + seconds)


async def expire(store: Store, after_s: float) -> float:
    """Let the expirer look in so many seconds; returns its pause."""
    return await Expirer(store).tick(SystemClock().now() + after_s)


async def test_it_is_shown_and_cancels_what_was_not_sent(api: CheckedApi, store: Store) -> None:
    until = at(60)
    job = (await api.enqueue(id="j1", batch="b", start_by=until)).json
    assert job["start_by"] == until
    assert (await api.enqueue(id="j1", batch="b", start_by=until)).status == 200
    why = (await api.get("/v1/jobs/j1/why")).json["blockers"]
    assert (why[-1]["kind"], why[-1]["until"]) == ("start_by", until)
    await expire(store, 59)
    assert (await api.job("j1"))["state"] == "queued"
    await expire(store, 61)
    job = await api.job("j1")
    assert (job["state"], job["reason"]["code"], job["attempt"]) == ("cancelled", "expired", 0)
    assert job["finished_at"]
    assert (await api.get("/v1/jobs", code="expired")).json["items"][0]["id"] == "j1"
    batch = (await api.get("/v1/batches/b")).json
    assert batch["states"]["cancelled"] == 1
    await store.metrics.counters.flush(SystemClock().now())
    assert "knouds_jobs_expired_total 1.0" in (await api.get("/metrics")).body.decode()


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"start_by": -5.0}, "is in the past"),
        ({"start_by": 11 * 366 * 86_400.0}, "within ten years"),
        ({"start_by": 60.0, "delay_s": 60.0}, "is not after delay_s"),
        ({"start_by": 60.0, "run_at": 120.0}, "is not after run_at"),
    ],
)
async def test_a_time_at_which_nothing_can_be_sent_is_refused(
    api: CheckedApi, facts: dict[str, float], text: str
) -> None:
    times: dict[str, Any] = {
        name: value if name == "delay_s" else at(value) for name, value in facts.items()
    }
    reply = await api.post("/v1/jobs", {**REQUEST, **times})
    assert (reply.status, reply.field) == (422, "start_by"), reply.body
    assert text in reply.detail


async def test_a_request_that_comes_again_after_its_time_is_answered_with_its_job(
    api: CheckedApi,
) -> None:
    """Nothing was lost but the answer: the app repeats the call until it has one."""
    until = rfc3339(SystemClock().now() + 0.3)
    await api.enqueue(id="j1", start_by=until)
    while rfc3339(SystemClock().now()) <= until:
        await api.get("/livez")
    assert (await api.enqueue(id="j1", start_by=until)).status == 200
    other = await api.post("/v1/jobs", {**REQUEST, "id": "j2", "start_by": until})
    assert other.status == 422


async def test_a_requeued_dead_letter_expires_a_parked_one_does_not(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    start_by = SystemClock().now() + 5
    await job_factory.dead("dead", start_by=start_by)
    await job_factory.held("held", start_by=start_by)
    await expire(store, 60)
    assert (await api.job("dead"))["state"] == "dead"
    assert (await api.job("held"))["state"] == "parked"
    await api.post("/v1/jobs/dead/requeue")
    await api.post("/v1/jobs/held/release")
    await expire(store, 60)
    for name in ("dead", "held"):
        assert (await api.job(name))["reason"]["code"] == "expired"


async def test_the_app_hears_of_it(open_api: OpenApi, store: Store, settings: Settings) -> None:
    changes: dict[str, Any] = {
        "callback_hosts": CallbackHosts(("hooks.example.com",)),
        "callback_secret": SecretStr(SECRET),
    }
    async with open_api(store, settings.model_copy(update=changes)) as api:
        await api.enqueue(id="j1", start_by=at(60), callback_url="https://hooks.example.com/x")
        await expire(store, 61)
        (found,) = (await api.get("/v1/callbacks?job=j1")).json["items"]
    stored = await store.callbacks.find(found["id"])
    assert stored is not None
    body = msgspec.json.decode(await StoredCallbackBodies(store.payloads).body(stored.callback))
    assert (body["type"], body["data"]["reason"]["code"]) == ("job.cancelled", "expired")


async def test_a_schedule_takes_none(api: CheckedApi) -> None:
    job = {**REQUEST, "start_by": at(60)}
    reply = await api.put("/v1/schedules/s", {"cron": "0 * * * *", "job": job})
    assert (reply.status, reply.field) == (422, "job.start_by")


async def test_many_are_cancelled_in_batches(store: Store, job_factory: JobFactory) -> None:
    """The tick that was full goes on at once."""
    now = SystemClock().now()
    for number in range(3):
        await job_factory.queued(f"j{number}", start_by=now + 1)
    assert await expire(store, 0) <= 1
    assert await expire(store, 5) == 3.0


async def test_an_entry_without_its_record_goes(store: Store) -> None:
    await store.client.call("ZADD", f"{store.keys.namespace}:start-by", 1, "nobody")
    await expire(store, 0)
    assert not await store.client.call("ZCARD", f"{store.keys.namespace}:start-by")
