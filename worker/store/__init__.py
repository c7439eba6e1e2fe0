"""The Redis store: records, places and gates. Decisions are made elsewhere; here they are kept."""

from dataclasses import dataclass

from arq import ArqRedis

from worker.store.audit import Audit
from worker.store.client import Client
from worker.store.fleet import Fleet
from worker.store.gates import GateStore
from worker.store.jobs import JobStore
from worker.store.keys import Keys
from worker.store.lanes import LaneStore
from worker.store.queries import Queries
from worker.store.scripts import Scripts
from worker.store.webhooks import WebhookStore


@dataclass(frozen=True, slots=True)
class Store:
    """Everything of one namespace."""

    client: Client
    keys: Keys
    jobs: JobStore
    gates: GateStore
    lanes: LaneStore
    fleet: Fleet
    queries: Queries
    audit: Audit
    webhooks: WebhookStore


def open_store(redis: ArqRedis, namespace: str) -> Store:
    """Put the parts of a store together over one connection pool."""
    client, keys = Client(redis), Keys(namespace)
    scripts = Scripts(client)
    jobs = JobStore(client, keys, scripts)
    return Store(
        client=client,
        keys=keys,
        jobs=jobs,
        gates=GateStore(client, keys, scripts),
        lanes=LaneStore(client, keys, scripts),
        fleet=Fleet(client, keys),
        queries=Queries(client, keys, scripts, jobs),
        audit=Audit(client, keys),
        webhooks=WebhookStore(client, keys, scripts),
    )
