"""The Redis store: records, places and gates. Decisions are made elsewhere; here they are kept."""

from dataclasses import dataclass

from arq import ArqRedis

from worker.store.audit import Audit
from worker.store.client import Client
from worker.store.durations import DurationStore
from worker.store.events import EventLog
from worker.store.holds import GateStore
from worker.store.jobs import JobStore
from worker.store.keys import Keys
from worker.store.lanes import LaneStore
from worker.store.metrics.buffer import Tally
from worker.store.metrics.counters import Counters
from worker.store.metrics.series import Series
from worker.store.rate_limits import QuotaStore
from worker.store.read.batches import BatchStore
from worker.store.read.queries import Queries
from worker.store.scripts import Scripts
from worker.store.sessions import SessionStore
from worker.store.webhooks import WebhookStore
from worker.store.workers import Fleet


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
    batches: BatchStore
    quota: QuotaStore
    audit: Audit
    webhooks: WebhookStore
    durations: DurationStore
    sessions: SessionStore
    events: EventLog
    tally: Tally
    counters: Counters
    series: Series


def open_store(redis: ArqRedis, namespace: str) -> Store:
    """Put the parts of a store together over one connection pool."""
    client, keys = Client(redis), Keys(namespace)
    scripts = Scripts(client)
    tally, series = Tally(), Series(client, keys)
    jobs = JobStore(client, keys, scripts, tally)
    return Store(
        client=client,
        keys=keys,
        jobs=jobs,
        gates=GateStore(client, keys, scripts),
        lanes=LaneStore(client, keys, scripts),
        fleet=Fleet(client, keys),
        quota=QuotaStore(client, keys, scripts),
        queries=Queries(client, keys, scripts, jobs),
        batches=BatchStore(client, keys, scripts, jobs),
        audit=Audit(client, keys),
        webhooks=WebhookStore(client, keys, scripts),
        durations=DurationStore(client, keys),
        sessions=SessionStore(client, keys),
        events=EventLog(client, keys),
        tally=tally,
        counters=Counters(client, keys, tally, series),
        series=series,
    )
