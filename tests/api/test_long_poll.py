"""`/wait`: answers as soon as a job is settled or parked, and when time is up; misses nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
import pytest

from config.settings import Settings
from tests.api.checked_api import ApiReply, CheckedApi, is_subscribed, until
from tests.api.job_factory import JobFactory
from worker.api.streams import long_poll
from worker.compose.api import running
from worker.store import Store


class PendingWaits:
    """Calls that wait, and what has been asked of the store for them."""

    def __init__(self, api: CheckedApi, monkeypatch: pytest.MonkeyPatch) -> None:
        self._api = api
        self.begun: list[str] = []
        begin = long_poll.LongPolls.wait_until_settled_or_parked

        async def noted(
            waiters: long_poll.LongPolls,
            job_id: str,
            timeout_s: float,
            is_wanted: Callable[[], bool],
            has_same_rights: Callable[[], Awaitable[bool]],
        ) -> None:
            self.begun.append(job_id)
            await begin(waiters, job_id, timeout_s, is_wanted, has_same_rights)

        monkeypatch.setattr(long_poll.LongPolls, "wait_until_settled_or_parked", noted)

    async def start(self, job_id: str, timeout_s: float = 30) -> "asyncio.Task[ApiReply]":
        """Begin to wait; the call is under way when this returns."""
        before = len(self.begun)
        task = asyncio.create_task(self._api.get(f"/v1/jobs/{job_id}/wait", timeout_s=timeout_s))

        async def has_begun() -> bool:
            return len(self.begun) > before

        await until(has_begun)
        return task


@pytest.fixture
def waits(api: CheckedApi, monkeypatch: pytest.MonkeyPatch) -> PendingWaits:
    return PendingWaits(api, monkeypatch)


@pytest.mark.parametrize("state", ["succeeded", "dead", "parked", "cancelled"])
async def test_a_settled_or_parked_job_is_answered_at_once(
    api: CheckedApi, job_factory: JobFactory, state: str
) -> None:
    match state:
        case "succeeded":
            await job_factory.succeeded("j1")
        case "dead":
            await job_factory.dead("j1")
        case _:
            await job_factory.held("j1")
    if state == "cancelled":
        await api.post("/v1/jobs/j1/discard")
    reply = await api.get("/v1/jobs/j1/wait", timeout_s=60)
    assert (reply.status, reply.json["state"]) == (200, state)


async def test_a_job_that_settles_is_answered_with_its_result(
    waits: PendingWaits, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the channel alone: the rereading is put off."""
    monkeypatch.setattr(long_poll, "RECHECK_INTERVAL_S", 60.0)
    await job_factory.running("j1")
    call = await waits.start("j1")
    await job_factory.succeed("j1", b'{"url":"https://x"}')
    job = (await asyncio.wait_for(call, 5)).json
    assert (job["state"], job["result"]) == ("succeeded", {"url": "https://x"})


async def test_a_job_that_parks_is_answered(
    api: CheckedApi, waits: PendingWaits, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "RECHECK_INTERVAL_S", 60.0)
    await job_factory.queued("j1")
    call = await waits.start("j1")
    await api.post("/v1/jobs/j1/park")
    assert (await asyncio.wait_for(call, 5)).json["state"] == "parked"


async def test_time_up_is_answered_with_the_job_as_it_is(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.running("j1")
    begun = time.monotonic()
    reply = await api.get("/v1/jobs/j1/wait", timeout_s=0.2)
    assert (reply.status, reply.json["state"]) == (200, "running")
    assert 0.2 <= time.monotonic() - begun < 3


def _drop_message(waiters: long_poll.LongPolls, job_id: str) -> None:
    del waiters, job_id


async def test_a_lost_message_is_made_up_for_by_reading_again(
    waits: PendingWaits, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "RECHECK_INTERVAL_S", 0.05)
    monkeypatch.setattr(long_poll.LongPolls, "_notify", _drop_message)
    await job_factory.running("j1")
    call = await waits.start("j1")
    await job_factory.succeed("j1")
    assert (await asyncio.wait_for(call, 5)).json["state"] == "succeeded"


async def test_many_wait_over_one_subscription(
    waits: PendingWaits, job_factory: JobFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "RECHECK_INTERVAL_S", 60.0)
    await job_factory.running("j1")
    await job_factory.running("j2")
    calls = [await waits.start(f"j{n % 2 + 1}") for n in range(20)]
    counted = await store.client.call("PUBSUB", "NUMSUB", store.keys.settled)
    assert counted[1] == 1
    await job_factory.succeed("j1")
    await job_factory.succeed("j2")
    replies = await asyncio.wait_for(asyncio.gather(*calls), 5)
    assert {reply.json["state"] for reply in replies} == {"succeeded"}


async def test_the_subscription_is_made_again_when_it_is_lost(
    waits: PendingWaits, job_factory: JobFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "RECHECK_INTERVAL_S", 60.0)
    await job_factory.running("j1")
    call = await waits.start("j1")
    await store.client.call("CLIENT", "KILL", "TYPE", "pubsub")

    await until(partial(is_subscribed, store))
    await job_factory.succeed("j1")
    assert (await asyncio.wait_for(call, 5)).json["state"] == "succeeded"


@pytest.mark.parametrize("timeout_s", ["-1", "121", "nan", "inf", "soon"])
async def test_a_timeout_out_of_bounds_is_refused(
    api: CheckedApi, job_factory: JobFactory, timeout_s: str
) -> None:
    await job_factory.queued("j1")
    reply = await api.get("/v1/jobs/j1/wait", timeout_s=timeout_s)
    assert (reply.status, reply.field) == (400, "timeout_s")


async def test_a_job_that_is_gone_is_404_even_for_who_waits(
    waits: PendingWaits, job_factory: JobFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "RECHECK_INTERVAL_S", 0.05)
    await job_factory.running("j1")
    call = await waits.start("j1")
    stored = await store.jobs.load("j1")
    assert stored is not None
    await store.jobs.delete(stored)
    assert (await asyncio.wait_for(call, 5)).status == 404


async def test_a_stop_answers_those_who_wait_with_the_current_job(
    store: Store, settings: Settings, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job_factory.running("j1")
    async with aiohttp.ClientSession() as http:
        async with running(settings, store) as url:
            call = await PendingWaits(CheckedApi(url, http), monkeypatch).start("j1", timeout_s=120)
        assert (await asyncio.wait_for(call, 5)).json["state"] == "running"
