"""A pipeline of runs, over a real worker and the sandbox: the second takes from the first."""

import msgspec

from jobs.requests import JobRequest
from jobs.states import Kind, State
from tests.engine.live_system import LiveSystem


def taking(*after: str, **inputs: object) -> JobRequest:
    behaviour = {"product_image": "x", "sandbox": {"label": "last", "duration_s": 0.05}}
    text = msgspec.json.encode({**behaviour, **inputs}, order="sorted")
    return JobRequest(Kind.MODEL, "gpt-image-2", text, after=after)


async def test_a_pipeline_runs_from_one_call(system: LiveSystem) -> None:
    async with system.worker():
        first = system.request(label="first")
        reference = {"$result": "first", "pointer": "/images/0"}
        await system.enqueuer.enqueue_many(
            [
                ("last", taking("first", "second", picture=reference)),
                ("second", system.request(label="second", after=("first",))),
                ("first", first),
            ]
        )
        jobs = await system.all_until(["first", "second", "last"])
    assert [job.state for job in jobs] == [State.SUCCEEDED] * 3
    finished = [job.finished_at or 0.0 for job in jobs]
    begun = [job.attempts[0].started_at for job in jobs]
    assert begun[1] >= finished[0]
    assert begun[2] >= finished[1]
    result = await system.store.payloads.read("first")
    inputs = await system.store.payloads.read("last")
    assert result.result
    assert inputs.inputs
    url = msgspec.json.decode(result.result)["images"][0]
    assert msgspec.json.decode(inputs.inputs)["picture"] == url
    ledger = await system.ledger("last")
    assert ledger["started"] == 1
