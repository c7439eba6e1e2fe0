"""Apps hear of their jobs: from the transition to a real receiver, and what goes wrong between."""

from collections.abc import AsyncGenerator

import msgspec
import pytest
from aiohttp import web
from arq import ArqRedis
from pydantic import SecretStr

from config.callback_hosts import CallbackHosts
from jobs.callbacks import CallbackState, CallbackSubject
from jobs.states import State
from tests.engine.callback_receiver import OLD_SECRET, SECRET, Receiver, always, receiving
from tests.engine.live_system import OPERATOR, LiveSystem, live_system, wait_until
from worker.app.action_table import JobAction
from worker.app.enqueue import InvalidRequest
from worker.store.commit import VersionedJob


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
async def calling(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str, receiver: Receiver
) -> AsyncGenerator[LiveSystem]:
    """A system whose callbacks may go to the receiver."""
    settings = {
        "callback_hosts": CallbackHosts((receiver.url,)),
        "callback_secret": SecretStr(f"{SECRET},{OLD_SECRET}"),
    }
    async with live_system(redis, redis_url, namespace, sandbox, **settings) as found:
        yield found


async def delivered(system: LiveSystem, receiver: Receiver, count: int) -> None:
    """Wait until the receiver has so many, and the outbox knows."""

    async def all_are() -> bool:
        counts = await system.store.callbacks.counts()
        return len(receiver.received) >= count and not counts.by_state[CallbackState.PENDING]

    await wait_until(all_are, f"{count} callbacks, {receiver.types} came")


async def test_an_app_hears_of_its_result_with_every_signature(
    calling: LiveSystem, receiver: Receiver
) -> None:
    async with calling.worker():
        job_id = await calling.enqueue(label="it", cost=7, callback_url=f"{receiver.url}/a?b=c")
        job = await calling.until(job_id)
        await delivered(calling, receiver, 1)
    (found,) = receiver.received
    assert (found.type, found.path) == ("job.succeeded", "/a?b=c")
    data = found.body["data"]
    assert (data["id"], data["state"], data["cost"], data["inputs"]) == (
        job_id,
        "succeeded",
        7,
        None,
    )
    assert "images" in data["result"]
    assert data["execution_id"] == job.execution_id
    assert len(found.signatures) == 2, "both secrets sign while one is replaced"
    assert found.id.startswith("msg_")


async def test_a_job_without_callback_writes_nothing(
    calling: LiveSystem, receiver: Receiver
) -> None:
    async with calling.worker():
        await calling.until(await calling.enqueue(label="it"))
        assert not [key for key in await calling.keys() if ":callback" in key]
    assert not receiver.requests


async def test_every_event_is_heard_in_order(calling: LiveSystem, receiver: Receiver) -> None:
    async with calling.worker():
        job_id = await calling.enqueue(label="it", delay_s=60, callback_url=receiver.url)
        await calling.actions.act(JobAction.PARK, job_id, OPERATOR)
        await calling.actions.act(JobAction.DISCARD, job_id, OPERATOR)
        await delivered(calling, receiver, 2)
    found = receiver.of_job(job_id)
    assert [one.type for one in found] == ["job.parked", "job.cancelled"]
    assert found[0].sequence < found[1].sequence
    assert found[0].body["data"]["reason"]["code"] == "manual"
    assert found[1].body["data"]["state"] == "cancelled"


async def test_a_retry_sends_the_same_body_under_the_same_id(
    calling: LiveSystem, receiver: Receiver
) -> None:
    """Though the job has moved on: the body is that of the event."""
    receiver.answer = lambda _, number: web.Response(status=500 if number == 1 else 200)
    job_id = await calling.enqueue(label="it", delay_s=3_000, callback_url=receiver.url)
    await calling.actions.act(JobAction.PARK, job_id, OPERATOR)
    async with calling.worker(retry_base_s=0.01):

        async def refused_once() -> bool:
            return receiver.requests >= 1

        await wait_until(refused_once, "the first try")
        await calling.actions.act(JobAction.RELEASE, job_id, OPERATOR)
        await calling.until(job_id, State.SUCCEEDED)
        await delivered(calling, receiver, 3)
    parked = [one for one in receiver.received if one.type == "job.parked"]
    assert [one.id for one in parked] == [parked[0].id] * 2
    assert parked[0].raw == parked[1].raw
    assert parked[1].body["data"]["state"] == "parked"
    assert {one.type for one in receiver.received} == {"job.parked", "job.succeeded"}


async def test_a_default_url_is_that_of_the_account(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str, receiver: Receiver
) -> None:
    settings = {
        "callback_hosts": CallbackHosts((receiver.url,)),
        "callback_secret": SecretStr(SECRET),
        "callback_url": {"studio": f"{receiver.url}/studio"},
    }
    async with (
        live_system(redis, redis_url, namespace, sandbox, **settings) as system,
        system.worker(),
    ):
        await system.until(await system.enqueue(label="a"))
        await system.until(await system.enqueue(label="b", account="studio"))
        await delivered(system, receiver, 1)
    assert [one.path for one in receiver.received] == ["/studio"]


async def test_without_hosts_a_callback_is_refused(system: LiveSystem) -> None:
    with pytest.raises(InvalidRequest, match="KNOUDS_CALLBACK_HOSTS") as refused:
        await system.enqueue(label="it", callback_url="https://hooks.example.com/x")
    assert refused.value.field == "callback_url"


async def test_an_adopted_arq_call_has_callbacks(calling: LiveSystem, receiver: Receiver) -> None:
    async with calling.worker():
        await calling.redis.enqueue_job(
            "run_model",
            "gpt-image-2",
            {"product_image": "x", "sandbox": {"label": "it", "duration_s": 0.05}},
            _job_id="from-arq",
            _queue_name=f"{calling.settings.namespace}:queue",
            callback_url=receiver.url,
        )
        await calling.until_on_record("from-arq")
        await calling.until("from-arq")
        await delivered(calling, receiver, 1)
    assert receiver.types == ["job.succeeded"]


async def test_a_killed_worker_leaves_its_callbacks_to_another(
    calling: LiveSystem, receiver: Receiver
) -> None:
    receiver.hangs = True
    job_id = await calling.enqueue(label="it", delay_s=3_000, callback_url=receiver.url)
    await calling.actions.act(JobAction.PARK, job_id, OPERATOR)
    store = calling.store.callbacks
    async with calling.worker(callback_timeout_s=60):

        async def is_sent() -> bool:
            return bool(receiver.received)

        await wait_until(is_sent, "the request")
    receiver.hangs = False
    (found,) = await store.of_subject(CallbackSubject.JOB, job_id)
    assert found.state is CallbackState.PENDING
    queue = calling.store.keys.callback_queue(found.host)
    await calling.store.client.call("ZADD", queue, 1.0, found.id)  # its lease has ended
    await store.make_host_due(found.host, 1.0)
    async with calling.worker():
        await delivered(calling, receiver, 2)
    assert len({one.id for one in receiver.received}) == 1


async def test_a_host_that_is_down_is_tried_by_one_at_a_time(
    calling: LiveSystem, receiver: Receiver
) -> None:
    """Its breaker trips; another host's callbacks go on."""
    receiver.answer = always(503)
    async with receiving() as healthy:
        hosts = CallbackHosts((receiver.url, healthy.url))
        names = [f"j{number}" for number in range(40)]
        for name in names:
            await _park(calling, name, receiver.url)
        async with calling.worker(callback_hosts=hosts):

            async def is_down() -> bool:
                return bool(await calling.store.callbacks.breakers())

            await wait_until(is_down, "an open breaker")
            await _park(calling, "other", healthy.url)

            async def other_came() -> bool:
                return healthy.types == ["job.parked"]

            await wait_until(other_came, "the callback of the other host")
            assert receiver.requests < len(names), "not all were tried"
            receiver.answer = always(204)
            await delivered(calling, receiver, len(names))
            assert not await calling.store.callbacks.breakers()
    assert receiver.most_at_once <= 8
    assert len({one.id for one in receiver.received}) == len(names)


async def _park(system: LiveSystem, name: str, url: str) -> None:
    """A parked job whose event goes to a URL, whatever the enqueuer allows."""
    job = await system.enqueue(job_id=name, delay_s=3_000)
    stored = await system.store.jobs.load(job)
    assert stored is not None
    with_url = msgspec.structs.replace(stored.job, callback_url=url)
    assert isinstance(await system.store.jobs.commit(stored, with_url), VersionedJob)
    await system.actions.act(JobAction.PARK, job, OPERATOR)
