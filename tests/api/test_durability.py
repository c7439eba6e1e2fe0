"""What the answer to an enqueue says about replicas, on a server that has none."""

from arq import ArqRedis

from config.settings import Settings
from tests.api.conftest import OpenApi
from worker.store import open_store
from worker.store.client import ReplicaWait

REQUEST = {"id": "one", "kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "a cat"}}


async def test_an_enqueue_that_no_replica_confirms_is_accepted_and_says_so(
    open_api: OpenApi, redis: ArqRedis, namespace: str
) -> None:
    store = open_store(redis, namespace, wait=ReplicaWait(1, 20))
    async with open_api(store, Settings(namespace=namespace, http_port=0)) as api:
        new = await api.post("/v1/jobs", REQUEST)
        again = await api.post("/v1/jobs", REQUEST)
        bulk = await api.post("/v1/jobs/bulk", {"jobs": [REQUEST, REQUEST | {"id": "two"}]})
        read = await api.get("/v1/jobs/one")
    assert (new.status, new.json["durability"]) == (202, "unconfirmed")
    assert (again.status, again.json["durability"]) == (200, "unconfirmed")
    rows = [(row["status"], row["durability"]) for row in bulk.json["results"]]
    assert rows == [(200, "unconfirmed"), (202, "unconfirmed")]
    assert "durability" not in read.json


async def test_without_the_setting_no_answer_speaks_of_replicas(
    open_api: OpenApi, redis: ArqRedis, namespace: str
) -> None:
    store = open_store(redis, namespace)
    async with open_api(store, Settings(namespace=namespace, http_port=0)) as api:
        new = await api.post("/v1/jobs", REQUEST)
    assert "durability" not in new.json
