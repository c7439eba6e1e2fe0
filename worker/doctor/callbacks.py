"""Callbacks: how many wait and why, what was lost, and whether each is where its service looks."""

from dataclasses import dataclass, field
from typing import Final

from config.settings import Settings
from jobs.callback_breaker import CallbackBreaker
from jobs.callbacks import CallbackState
from jobs.texts import pluralize
from worker.doctor.findings import Finding, fail, ok, warn
from worker.store import Store
from worker.store.callback_outbox import LOST_COUNTER, REFUSING_SHARE
from worker.store.callbacks import CallbackCounts, CallbackUse

OUTBOX: Final = "callbacks.outbox"
HOSTS: Final = "callbacks.hosts"
INDEXES: Final = "callbacks.indexes"
LOST: Final = "callbacks.lost"

OVERDUE_S: Final = 3_600.0
"""A callback that waits for longer deserves a look."""

MAX_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class CallbackFacts:
    """What was read of callbacks."""

    counts: CallbackCounts
    use: CallbackUse
    max_bytes: int
    hosts_down: dict[str, CallbackBreaker] = field(default_factory=dict[str, CallbackBreaker])
    lost: int = 0
    """Events for which there was no room, ever."""


async def check_callbacks(store: Store, settings: Settings, now: float) -> list[Finding]:
    """Findings about callbacks; raises `redis.exceptions.RedisError`."""
    counts = await store.callbacks.counts()
    counters = await store.metrics.counters.read()
    facts = CallbackFacts(
        counts=counts,
        use=await store.callbacks.compare_indexes(),
        max_bytes=settings.callback_outbox_bytes,
        hosts_down=await store.callbacks.breakers(),
        lost=int(counters.get(LOST_COUNTER, 0)),
    )
    return judge_callbacks(facts, now, are_sent=bool(settings.callback_hosts.entries))


def judge_callbacks(facts: CallbackFacts, now: float, *, are_sent: bool) -> list[Finding]:
    """Judge what was read; nothing to say where there are no callbacks and never were."""
    counts, use = facts.counts, facts.use
    total = sum(counts.by_state.values())
    found: list[Finding] = []
    if not (are_sent or total or facts.lost or use.unindexed or use.without_record):
        return found
    found += _judge_outbox(facts, now, are_sent=are_sent)
    for host, breaker in sorted(facts.hosts_down.items()):
        text = f"{host} is down since {now - breaker.since:,.0f} s: {breaker.error}"
        found.append(warn(HOSTS, text, "see that the receiver is up; it is probed by itself"))
    if facts.lost:
        text = f"{pluralize(facts.lost, 'event')} had no room in the outbox and was not sent"
        fix = "raise KNOUDS_CALLBACK_OUTBOX_BYTES, and let apps read what they missed: GET /v1/jobs"
        found.append(warn(LOST, text, fix))
    if use.unindexed:
        shown = ", ".join(use.unindexed[:MAX_SHOWN])
        text = f"{pluralize(len(use.unindexed), 'pending callback')} in no queue: {shown}"
        fix = f"knouds-worker callbacks resend {use.unindexed[0]} puts one back into its queue"
        found.append(fail(INDEXES, text, fix))
    if use.without_record:
        shown = ", ".join(use.without_record[:MAX_SHOWN])
        text = f"{pluralize(len(use.without_record), 'id')} of callbacks without one: {shown}"
        found.append(warn(INDEXES, text, "nothing: the worker and the pruner remove them"))
    if not (use.unindexed or use.without_record):
        found.append(ok(INDEXES, f"{pluralize(total, 'callback')} where the service looks"))
    return found


def _judge_outbox(facts: CallbackFacts, now: float, *, are_sent: bool) -> list[Finding]:
    counts = facts.counts
    pending, failed = (counts.by_state[s] for s in (CallbackState.PENDING, CallbackState.FAILED))
    numbers = f"{pluralize(pending, 'callback')} pending, {failed:,} failed"
    if pending and not are_sent:
        fix = "set KNOUDS_CALLBACK_HOSTS and KNOUDS_CALLBACK_SECRET for the workers"
        return [fail(OUTBOX, f"{numbers}, and these settings send none", fix)]
    if counts.used_bytes >= REFUSING_SHARE * facts.max_bytes:
        text = f"callbacks take {counts.used_bytes:,} of {facts.max_bytes:,} bytes: jobs with"
        fix = "see why they fail: knouds-worker callbacks ls --state pending"
        return [fail(OUTBOX, f"{text} callbacks are refused", fix)]
    oldest_at = counts.oldest_pending_at
    if oldest_at is not None and now - oldest_at > OVERDUE_S:
        text = f"{numbers}; the oldest waits since {(now - oldest_at) / 3_600:.1f} h"
        return [warn(OUTBOX, text, "see why: knouds-worker callbacks ls --state pending")]
    if failed:
        fix = "see why: knouds-worker callbacks ls --state failed; callbacks resend sends one again"
        return [warn(OUTBOX, numbers, fix)]
    return [ok(OUTBOX, f"{numbers}, {counts.used_bytes:,} bytes")]
