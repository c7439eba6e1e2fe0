"""The Redis store: records, places and gates. Decisions are made elsewhere; here they are kept."""

from collections.abc import Iterable
from dataclasses import dataclass

from arq import ArqRedis

from worker.store.audit import AuditLog
from worker.store.client import Client
from worker.store.durations import DurationStore
from worker.store.events import EventLog
from worker.store.holds import HoldStore
from worker.store.jobs import JobStore
from worker.store.keys import Keys
from worker.store.lanes import LaneStore
from worker.store.metrics.buffer import MetricsBuffer
from worker.store.metrics.counters import Counters
from worker.store.metrics.series import Series
from worker.store.rate_limits import RateLimitStore
from worker.store.read.batches import BatchStore
from worker.store.read.queries import JobQueries
from worker.store.scripts import Scripts
from worker.store.sessions import SessionStore
from worker.store.webhooks import WebhookStore
from worker.store.workers import WorkerStore


@dataclass(frozen=True, slots=True)
class Store:
    """Everything of one namespace."""

    client: Client
    keys: Keys
    jobs: JobStore
    holds: HoldStore
    lanes: LaneStore
    workers: WorkerStore
    queries: JobQueries
    batches: BatchStore
    rate_limits: RateLimitStore
    audit: AuditLog
    webhooks: WebhookStore
    durations: DurationStore
    sessions: SessionStore
    events: EventLog
    metrics: MetricsBuffer
    counters: Counters
    series: Series


def open_store(redis: ArqRedis, namespace: str, error_codes: Iterable[str] = ()) -> Store:
    """Put the parts of a store together over one connection pool.

    `error_codes`: codes of the provider that metrics count by name; others count as `other`.
    """
    client, keys = Client(redis), Keys(namespace)
    scripts = Scripts(client)
    tally, series = MetricsBuffer(error_codes), Series(client, keys)
    jobs = JobStore(client, keys, scripts, tally)
    return Store(
        client=client,
        keys=keys,
        jobs=jobs,
        holds=HoldStore(client, keys, scripts),
        lanes=LaneStore(client, keys, scripts),
        workers=WorkerStore(client, keys),
        rate_limits=RateLimitStore(client, keys, scripts),
        queries=JobQueries(client, keys, scripts, jobs),
        batches=BatchStore(client, keys, scripts, jobs),
        audit=AuditLog(client, keys),
        webhooks=WebhookStore(client, keys, scripts),
        durations=DurationStore(client, keys),
        sessions=SessionStore(client, keys),
        events=EventLog(client, keys),
        metrics=tally,
        counters=Counters(client, keys, tally, series),
        series=series,
    )
