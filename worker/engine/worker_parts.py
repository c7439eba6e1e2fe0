"""What the services of one worker share, grouped so that each takes what it needs."""

from dataclasses import dataclass

from jobs.effects import DecisionRules
from worker.clock import Clock
from worker.engine.breaker_reporter import BreakerReporter
from worker.engine.completion import Completion
from worker.engine.poison_guard import PoisonGuard
from worker.engine.poll_proof import PollProof
from worker.engine.services.redis_recovery import RedisRecovery
from worker.engine.wakeups import Wakeups
from worker.store import Store


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One worker: its identity, its store and clock, and the rules it decides by."""

    worker_id: str
    store: Store
    clock: Clock
    wakeups: Wakeups
    rules: DecisionRules
    lease_s: float
    """How long a claim of a job, poll or delivery lasts unless it is extended."""
    accounts: tuple[str, ...] = ()
    """The accounts that it has API keys for."""


@dataclass(frozen=True, slots=True)
class OutcomeParts:
    """What writes outcomes to jobs."""

    completion: Completion
    poison_guard: PoisonGuard
    redis_recovery: RedisRecovery
    breakers: BreakerReporter
    poll_proof: PollProof
