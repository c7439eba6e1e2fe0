"""Fair keys in a running worker: keys take turns, wait at their cap, and leave nothing behind."""

import msgspec

from jobs.states import State
from tests.engine.live_system import LiveSystem
from tests.store.redis_contents import keys_of
from worker.redis.connect import connect


async def test_a_key_with_one_job_goes_second_whatever_came_before(
    system: LiveSystem, redis_url: str
) -> None:
    names = ["large-0", "large-1", "large-2", "large-3", "small-0"]
    for name in names:
        await system.enqueue(job_id=name, fair_key=name.partition("-")[0])
    arq = connect(system.settings, redis_url)
    inputs = msgspec.json.decode(system.request(label="arq").inputs)
    await arq.enqueue_job("run_model", "gpt-image-2", inputs, _job_id="arq", fair_key="plain")
    await arq.aclose(close_connection_pool=True)
    async with system.worker(lane_caps={"*": 1}, fair_key_caps={"*": 1}):
        jobs = [await system.until(name) for name in names]
        await system.until_on_record("arq")
        plain = await system.until("arq")
    assert {job.state for job in (*jobs, plain)} == {State.SUCCEEDED}
    assert plain.fair_key == "plain"
    order = sorted(jobs, key=lambda job: job.submitted_at or 0.0)
    assert [job.id for job in order] == ["large-0", "small-0", "large-1", "large-2", "large-3"]
    left = {key.partition(":")[2].partition(":")[0] for key in await keys_of(system.store)}
    assert not left & {"key-turns", "key-queue", "key-active"}
