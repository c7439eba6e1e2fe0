"""The Redis store: job records, indexes, holds and metrics. It decides nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from arq import ArqRedis

from worker.store.accounts import AccountStore
from worker.store.announcements import Announcements
from worker.store.audit import AuditLog
from worker.store.audit_chain import AuditChain
from worker.store.balances import BalanceStore
from worker.store.batches import BatchStore
from worker.store.breakers import BreakerStore
from worker.store.budget_spending import BudgetSpendingStore
from worker.store.budgets import BudgetStore
from worker.store.callback_outbox import MAX_OUTBOX_BYTES, CallbackOutbox
from worker.store.callbacks import CallbackStore
from worker.store.client import Client, ReplicaWait
from worker.store.costs import CostStore
from worker.store.dependencies import DependencyStore
from worker.store.durations import DurationStore
from worker.store.enqueue_facts import EnqueueFactsStore
from worker.store.events import EventLog
from worker.store.evidence import EvidenceStore
from worker.store.holds import HoldStore
from worker.store.jobs import JobStore
from worker.store.keys import Keys
from worker.store.lane_caps import LaneCapStore
from worker.store.lane_facts import LaneFactsStore
from worker.store.lanes import LaneStore
from worker.store.ledger import LedgerStore
from worker.store.metrics.buffer import MetricsBuffer
from worker.store.metrics.counters import Counters
from worker.store.metrics.series import Series
from worker.store.payload_cipher import NO_CIPHER, PayloadCipher
from worker.store.payload_retention import PayloadRetention
from worker.store.payloads import PayloadStore
from worker.store.polls import PollStore
from worker.store.rate_limits import RateLimitStore
from worker.store.read.queries import JobQueries
from worker.store.recovery import RecoveryStore
from worker.store.registers import Registers
from worker.store.schedules import ScheduleStore
from worker.store.scripts import Scripts
from worker.store.sessions import SessionStore
from worker.store.warnings import WarningStore
from worker.store.webhooks import WebhookStore
from worker.store.workers import WorkerStore
from worker.store.workflows import WorkflowStore


@dataclass(frozen=True, slots=True)
class Metrics:
    """What happened, counted in memory and kept in Redis."""

    buffer: MetricsBuffer
    counters: Counters
    series: Series


@dataclass(frozen=True, slots=True)
class ReadModels:
    """Reads over many jobs."""

    queries: JobQueries


@dataclass(frozen=True, slots=True)
class Store:
    """Everything of one namespace."""

    client: Client
    keys: Keys
    jobs: JobStore
    payloads: PayloadStore
    payload_retention: PayloadRetention
    polls: PollStore
    holds: HoldStore
    breakers: BreakerStore
    lanes: LaneStore
    lane_caps: LaneCapStore
    rate_limits: RateLimitStore
    registers: Registers
    recovery: RecoveryStore
    workers: WorkerStore
    accounts: AccountStore
    enqueue_facts: EnqueueFactsStore
    costs: CostStore
    ledger: LedgerStore
    balances: BalanceStore
    budgets: BudgetStore
    batches: BatchStore
    dependencies: DependencyStore
    budget_spending: BudgetSpendingStore
    schedules: ScheduleStore
    warnings: WarningStore
    workflows: WorkflowStore
    lane_facts: LaneFactsStore
    durations: DurationStore
    webhooks: WebhookStore
    callbacks: CallbackStore
    evidence: EvidenceStore
    audit: AuditLog
    events: EventLog
    sessions: SessionStore
    read: ReadModels
    metrics: Metrics


def open_store(
    redis: ArqRedis,
    namespace: str,
    error_codes: Iterable[str] = (),
    wait: ReplicaWait | None = None,
    cipher: PayloadCipher = NO_CIPHER,
    *,
    callback_outbox_bytes: int = MAX_OUTBOX_BYTES,
) -> Store:
    """A store over one connection pool.

    `error_codes`: those that metrics count by name. `wait`: how enqueues and send marks wait for
    replicas; None: not. `cipher`: of payloads. `callback_outbox_bytes`: what callbacks may take.
    """
    client, keys = Client(redis), Keys(namespace, db=_database(redis))
    buffer, series = MetricsBuffer(error_codes), Series(client, keys)
    scripts = Scripts(client, Announcements(client, buffer), wait, AuditChain(cipher.keys))
    parts = (client, keys, scripts)
    recovery, payloads = RecoveryStore(*parts), PayloadStore(*parts, cipher)
    costs, workflows = CostStore(client, keys), WorkflowStore(client, keys)
    outbox = CallbackOutbox(keys, callback_outbox_bytes)
    jobs = JobStore(client, keys, scripts, buffer, recovery, payloads=payloads, outbox=outbox)
    return Store(
        client=client,
        keys=keys,
        jobs=jobs,
        payloads=payloads,
        payload_retention=PayloadRetention(client, keys, payloads),
        polls=PollStore(client, keys, scripts, jobs),
        holds=HoldStore(client, keys, scripts),
        breakers=BreakerStore(client, keys, scripts),
        lanes=LaneStore(client, keys, scripts, jobs.newer),
        lane_caps=LaneCapStore(client, keys, scripts),
        rate_limits=RateLimitStore(client, keys, scripts),
        registers=Registers(client, keys, scripts),
        recovery=recovery,
        workers=WorkerStore(client, keys, scripts.announcements),
        accounts=AccountStore(client, keys),
        enqueue_facts=EnqueueFactsStore(client, keys),
        ledger=LedgerStore(client, keys),
        balances=BalanceStore(client, keys),
        budgets=BudgetStore(client, keys, scripts),
        batches=BatchStore(client, keys, scripts, jobs),
        dependencies=DependencyStore(client, keys, scripts),
        budget_spending=BudgetSpendingStore(client, keys),
        schedules=ScheduleStore(client, keys, scripts, jobs, cipher),
        warnings=WarningStore(client, keys, scripts),
        costs=costs,
        workflows=workflows,
        lane_facts=LaneFactsStore(client, costs, workflows),
        durations=DurationStore(client, keys),
        webhooks=WebhookStore(client, keys, scripts, cipher),
        callbacks=CallbackStore(client, keys, scripts, outbox),
        evidence=EvidenceStore(client, keys),
        audit=AuditLog(client, keys, scripts),
        events=EventLog(client, keys),
        sessions=SessionStore(client, keys),
        read=ReadModels(JobQueries(client, keys, jobs)),
        metrics=Metrics(buffer, Counters(client, keys, scripts, buffer, series), series),
    )


def _database(redis: ArqRedis) -> int:
    pool: Any = redis.connection_pool
    return int(pool.connection_kwargs.get("db") or 0)
