"""Encrypted payloads through a whole worker, and a key that is lost."""

import base64
from typing import Final

import msgspec
from arq import ArqRedis
from pydantic import SecretStr

from jobs.job import PAYLOAD_KEY_LOST
from jobs.states import State
from tests.engine.live_system import OPERATOR, live_system, start_worker, wait_until
from worker.app.action_table import JobAction
from worker.cli.exit_codes import ExitCode
from worker.compose.runtime import Runtime
from worker.main import ResilientArqWorker
from worker.redis.connect import connect
from worker.store import Store
from worker.store.payload_cipher import MAGIC

ONE, OTHER = (SecretStr(base64.b64encode(bytes([n]) * 32).decode()) for n in (1, 2))
ONE_AND_PLAIN: Final = SecretStr(f"{ONE.get_secret_value()},plain")
LABEL: Final = b"secret-label"


async def test_a_run_leaves_nothing_of_its_payloads_in_redis(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str
) -> None:
    async with (
        live_system(redis, redis_url, namespace, sandbox, payload_keys=ONE) as system,
        system.worker(),
    ):
        job_id = await system.enqueue(label=LABEL.decode())
        await system.until(job_id, State.SUCCEEDED)
        stored = await system.store.client.call("HGETALL", system.store.keys.job(job_id))
        assert stored[b"inputs"].startswith(MAGIC)
        assert stored[b"result"].startswith(MAGIC)
        assert not [value for value in stored.values() if LABEL in value]
        found = await system.store.payloads.read(job_id)
        assert found.inputs is not None
        assert LABEL in found.inputs
        assert found.result is not None
        assert found.result.startswith(b"{")


async def test_what_an_app_put_on_the_arq_queue_is_gone_once_it_is_taken_over(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str
) -> None:
    async with live_system(redis, redis_url, namespace, sandbox, payload_keys=ONE) as system:
        arq = connect(system.settings, redis_url)
        inputs = msgspec.json.decode(system.request(label=LABEL.decode()).inputs)
        await arq.enqueue_job("run_model", "gpt-image-2", inputs, _job_id="mine")
        assert await system.store.client.call("EXISTS", "arq:job:mine")
        async with system.worker():
            await system.until_on_record("mine")
            await system.until("mine", State.SUCCEEDED)

            async def gone() -> bool:
                left: list[bytes] = await system.store.client.call("KEYS", "arq:*:mine")
                return not left

            await wait_until(gone, "arq's keys are removed")
        await arq.aclose(close_connection_pool=True)
        stored = await system.store.client.call("HGETALL", system.store.keys.job("mine"))
        assert not [value for value in stored.values() if LABEL in value]


async def test_without_its_key_a_job_parks_and_nothing_is_sent_until_its_app_sends_it_again(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str
) -> None:
    async with live_system(redis, redis_url, namespace, sandbox, payload_keys=ONE) as before:
        job_id = await before.enqueue(label="it")
    async with (
        live_system(redis, redis_url, namespace, sandbox, payload_keys=OTHER) as system,
        system.worker(),
    ):
        job = await system.until(job_id, State.PARKED)
        assert job.parked_as == PAYLOAD_KEY_LOST
        assert job.reason is not None
        assert "KNOUDS_PAYLOAD_KEYS" in job.reason.action
        assert (job.submits, await system.labels()) == (0, {})
        assert await system.enqueue(label="it", job_id=job_id) == job_id
        await system.actions.act(JobAction.RELEASE, job_id, OPERATOR)
        await system.until(job_id, State.SUCCEEDED)
        assert (await system.ledger("it"))["started"] == 1


async def test_plain_inputs_in_the_place_of_encrypted_ones_are_not_sent(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str
) -> None:
    async with live_system(redis, redis_url, namespace, sandbox, payload_keys=ONE) as system:
        job_id = await system.enqueue(label="real")
        planted = system.request(label="planted").inputs
        await system.store.client.call("HSET", system.store.keys.job(job_id), "inputs", planted)
        async with system.worker():
            job = await system.until(job_id)
            assert (job.state, job.parked_as) == (State.PARKED, PAYLOAD_KEY_LOST)
            assert job.reason is not None
            assert "plain ones in their place" in job.reason.message
            assert await system.labels() == {}
            assert await system.enqueue(label="real", job_id=job_id) == job_id
            await system.actions.act(JobAction.RELEASE, job_id, OPERATOR)
            await system.until(job_id, State.SUCCEEDED)
            assert list(await system.labels()) == ["real"]


async def test_a_worker_that_lacks_a_key_in_use_leaves_all_jobs_to_the_others(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str
) -> None:
    async with live_system(redis, redis_url, namespace, sandbox, payload_keys=ONE) as system:
        async with system.worker(payload_keys=None) as keyless:
            await wait_until(lambda: _runs(keyless), "it runs")
            await system.store.payloads.report_key()
            ids = [await system.enqueue(label=f"l{number}") for number in range(8)]
            runtime: Runtime = keyless.ctx["runtime"]
            store = runtime.context.store
            await wait_until(lambda: _lacks_a_key(store), "it meets the first of them")
            runtime.heartbeat_wakeup.notify()
            await wait_until(lambda: _reports(system.store), "it says so")
            async with system.worker(payload_keys=ONE_AND_PLAIN):
                await system.all_until(ids, State.SUCCEEDED)
            assert not [one for one in await system.jobs_matching() if one.state is State.PARKED]
        starting = await start_worker(system.settings.model_copy(update={"payload_keys": OTHER}))
        assert await starting.wait() == ExitCode.SETTINGS


async def _runs(worker: ResilientArqWorker) -> bool:
    return "runtime" in worker.ctx


async def _lacks_a_key(store: Store) -> bool:
    return bool(store.payloads.lacking)


async def _reports(store: Store) -> bool:
    return "payload_keys" in (await store.workers.heartbeats())[0].failures
