"""A callback that a worker sent is verified by the Python client."""

from arq import ArqRedis
from knouds_worker_client import verify_callback
from pydantic import SecretStr

from config.callback_hosts import CallbackHosts
from tests.engine.callback_receiver import OLD_SECRET, SECRET, receiving
from tests.engine.live_system import live_system, wait_until
from worker.sandbox import SandboxConfig, running


async def test_what_a_worker_sends_is_read(redis: ArqRedis, redis_url: str, namespace: str) -> None:
    async with receiving() as found, running(SandboxConfig(limit=0, credits=100)) as sandbox:
        changes = {
            "callback_hosts": CallbackHosts((found.url,)),
            "callback_secret": SecretStr(f"{OLD_SECRET},{SECRET}"),
        }
        async with (
            live_system(redis, redis_url, namespace, sandbox, **changes) as system,
            system.worker(),
        ):
            job_id = await system.enqueue(callback_url=found.url)

            async def is_delivered() -> bool:
                return bool(found.received)

            await wait_until(is_delivered, "a callback")
    (came,) = found.received
    headers = {
        "webhook-id": came.id,
        "webhook-timestamp": str(came.timestamp),
        "webhook-signature": " ".join(came.signatures),
    }
    callback = verify_callback(SECRET, headers, came.raw)
    assert (callback.id, callback.type) == (came.id, "job.succeeded")
    assert callback.sequence == came.sequence
    assert callback.job is not None
    assert (callback.job.id, callback.job.state) == (job_id, "succeeded")
    assert callback.job.result
    assert callback.job.inputs is None
