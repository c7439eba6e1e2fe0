"""`DELETE /v1/jobs/{id}/payloads`: nothing of a payload stays in Redis, the record does."""

import pytest

from jobs import transitions
from jobs.holds import Hold, hold_id
from jobs.job import Job
from jobs.lanes import Scope
from jobs.payloads import MissingPayload
from tests.api.checked_api import CheckedApi, keys_like
from tests.api.job_factory import JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.engine.services.pruner import Pruner
from worker.store import Store

SECRET = b"a cat"


async def contents(store: Store) -> bytes:
    """Every value of every key, as text."""
    found: list[bytes] = []
    for key in await keys_like(store, "*"):
        kind = (await store.client.call("TYPE", key)).decode()
        command = {
            "hash": ("HGETALL", key),
            "string": ("GET", key),
            "zset": ("ZRANGE", key, 0, -1),
            "list": ("LRANGE", key, 0, -1),
            "stream": ("XRANGE", key, "-", "+"),
        }[kind]
        found.append(repr(await store.client.call(*command)).encode())
    return b"\n".join(found)


async def test_nothing_of_a_payload_stays_in_redis(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.succeeded("job", b'{"text": "a cat in words"}')
    await store.webhooks.receive("exec-1", "workflow.completed", b'{"r": "a cat"}', 5.0)
    await store.client.call("SET", "arq:job:job", b'{"prompt": "a cat"}')
    await store.client.call("SET", "arq:result:job", b'{"result": "a cat"}')
    assert SECRET in await contents(store)
    reply = await api.delete("/v1/jobs/job/payloads", {"note": "asked for"})
    assert reply.status == 200, reply.body
    assert SECRET not in await contents(store)
    job = await api.job("job")
    assert (job["state"], job["inputs"], job["result"]) == ("succeeded", None, None)
    assert job["payload_problem"] == "payloads_erased"
    assert job["events"][-1]["event"] == "payloads_erased"
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"], entry["note"]) == ("erase_payloads", "job", "asked for")
    assert (await api.delete("/v1/jobs/job/payloads")).status == 200, "it can be repeated"


async def test_messages_of_the_provider_go_with_the_payloads(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.dead("job")
    await api.delete("/v1/jobs/job/payloads", {"force": True})
    job = await api.job("job")
    assert [attempt["message"] for attempt in job["attempts"]] == [None]
    assert (job["reason"]["code"], job["reason"]["message"]) == ("INVALID_INPUTS", "")


@pytest.mark.parametrize("state", ["queued", "submitting", "running", "retrying"])
@pytest.mark.parametrize("force", [False, True])
async def test_a_job_that_may_run_keeps_its_inputs(
    api: CheckedApi, job_factory: JobFactory, state: str, force: object
) -> None:
    await getattr(job_factory, state)("job")
    reply = await api.delete("/v1/jobs/job/payloads", {"force": force})
    assert reply.status == 409
    assert "it may still need them" in reply.detail
    assert (await api.job("job"))["inputs"] == {"prompt": "a cat"}


@pytest.mark.parametrize("state", ["dead", "held", "uncertain", "stuck"])
async def test_dead_and_parked_jobs_are_erased_only_by_an_explicit_act(
    api: CheckedApi, job_factory: JobFactory, state: str
) -> None:
    await getattr(job_factory, state)("job")
    refused = await api.delete("/v1/jobs/job/payloads")
    assert refused.status == 409
    assert "force=true" in refused.detail
    assert (await api.delete("/v1/jobs/job/payloads", {"force": True})).status == 200


async def test_an_erased_job_is_never_sent_again(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    for job_id, make, action in (
        ("a", job_factory.dead, "requeue"),
        ("b", job_factory.held, "release"),
    ):
        await make(job_id)
        await api.delete(f"/v1/jobs/{job_id}/payloads", {"force": True})
        before = await api.job(job_id)
        reply = await api.post(f"/v1/jobs/{job_id}/{action}")
        assert reply.status == 409
        assert "were erased" in reply.detail
        assert (await api.job(job_id)) == before
    bulk = await api.post("/v1/bulk/requeue", {"filter": {"state": "dead"}})
    assert (bulk.json["done"], bulk.json["skipped"]) == (0, 1)
    assert await store.payloads.missing_inputs(["a"]) == {"a": MissingPayload.ERASED}
    again = {"kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "a cat"}, "id": "a"}
    assert (await api.post("/v1/jobs", again)).status == 200
    assert (await api.job("a"))["inputs"] is None, "the same request does not bring them back"


async def test_the_pruner_erases_payloads_before_it_deletes_the_job(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    for n in range(5):
        await job_factory.succeeded(f"s{n}")
    await job_factory.dead("dead")
    now = job_factory.clock.now()
    pruner = Pruner(store, retention_s=1_000.0, payload_retention_s=100.0)
    await pruner.tick(now + 50)
    assert (await api.job("s0"))["inputs"] is not None
    await pruner.tick(now + 150)
    for n in range(5):
        job = await api.job(f"s{n}")
        assert (job["inputs"], job["payload_problem"]) == (None, "payloads_erased")
    assert (await api.job("dead"))["inputs"] is not None, "dead letters never expire"
    events = len((await api.job("s0"))["events"])
    await pruner.tick(now + 160)
    assert len((await api.job("s0"))["events"]) == events, "each is erased once"
    await pruner.tick(now + 1_100)
    assert (await api.get("/v1/jobs/s0")).status == 404


async def test_the_retention_leaves_as_little_as_an_act_of_an_operator(
    job_factory: JobFactory, store: Store
) -> None:
    await job_factory.succeeded("job", b'{"text": "a cat in words"}')
    await store.webhooks.receive("exec-1", "workflow.completed", b'{"r": "a cat"}', 5.0)
    await store.client.call("SET", "arq:job:job", b'{"prompt": "a cat"}')
    await store.client.call("SET", "arq:result:job", b'{"result": "a cat"}')
    pruner = Pruner(store, retention_s=1_000.0, payload_retention_s=100.0)
    await pruner.tick(job_factory.clock.now() + 150)
    assert SECRET not in await contents(store)


async def test_the_retention_goes_on_in_batches_also_over_jobs_of_one_moment(
    job_factory: JobFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.services.pruner.BATCH", 2)
    moment = job_factory.clock.now()

    def cancel(job: Job) -> Job:
        return transitions.cancel(job, moment)

    for n in range(7):
        await job_factory.queued(f"c{n}")
        await job_factory.transition(f"c{n}", cancel)
    pruner = Pruner(store, retention_s=1_000.0, payload_retention_s=100.0)
    for _ in range(5):
        await pruner.tick(moment + 150)
    ids = [f"c{n}" for n in range(7)]
    assert await store.payloads.without_payloads(ids) == set(ids)


async def test_the_message_of_a_hold_goes_with_the_job_that_placed_it(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.held("job")
    quoted = (await api.job("job"))["reason"]["message"]
    scope, code = Scope("default/model"), "CAPABILITY_DENIED"
    hold = Hold(id=hold_id(scope, code), scope=scope, code=code, created_at=1.0, message=quoted)
    await store.holds.place(hold)
    await api.delete("/v1/jobs/job/payloads", {"force": True})
    (after,) = await store.holds.list_all()
    assert quoted
    assert (after.id, after.message) == (hold.id, "")
