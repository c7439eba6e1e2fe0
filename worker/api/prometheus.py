"""The text that Prometheus scrapes (exposition format 0.0.4), from a snapshot of the metrics."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from jobs.breakers import BreakerCause, BreakerState
from jobs.budgets.room import credits_of
from jobs.budgets.state import BudgetState
from jobs.callbacks import CallbackState
from jobs.states import Kind, State
from worker.api.metrics_snapshot import MetricsSnapshot
from worker.app.budgets import ShownBudget
from worker.app.credit_warnings import CreditWarningCause
from worker.app.queries import BreakerSummary
from worker.store.callbacks import CallbackCounts
from worker.store.metrics.catalog import MAX_TARGETS, METRICS, OTHER, PREFIX, MetricSpec

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

MAX_NAMED_SERIES: Final = 50
"""Lanes and routes with a series of their own; the others are summed up as `other`."""

_INITIAL_SERIES: Final[dict[str, Sequence[tuple[str, ...]]]] = {
    "jobs_enqueued": [(kind,) for kind in Kind],
    "jobs_settled": [
        (state, kind) for state in ("succeeded", "dead", "cancelled") for kind in Kind
    ],
    "jobs_uncertain": [()],
    "jobs_expired": [()],
    "jobs_rescued": [("submitting",), ("running",)],
    "rate_limited": [("model",), ("workflow",), ("executions",)],
    "submits": [(kind, "accepted", "") for kind in Kind],
    "polls": [("finished",), ("running",)],
    "callbacks": [("delivered",), ("retried",), ("failed",), ("lost",)],
}
"""Counters that are shown as 0 before anything happened: a rate needs a first value."""


def render_metrics(snapshot: MetricsSnapshot | None) -> bytes:
    """The text of a snapshot; without one, only that Redis is away."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    """The snapshot as metrics."""

    def __init__(self, snapshot: MetricsSnapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        up = 0.0 if self._snapshot is None else 1.0
        yield GaugeMetricFamily(f"{PREFIX}redis_up", "Whether Redis answers.", value=up)
        ready = self._snapshot is not None and not self._snapshot.stats.redis_problems
        yield _plain_gauge("redis_ready", "Whether Redis does what is needed: writes, too.", ready)
        if self._snapshot is not None:
            yield from _gauges(self._snapshot)
            yield from _counted_metrics(self._snapshot.counters)


# Gauges.


def _gauges(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    stats = snapshot.stats
    yield _labelled_gauge("jobs", "Jobs by state.", "state", stats.states.items())
    yield _labelled_gauge(
        "oldest_age_seconds",
        "Age of the job that has been in a state the longest.",
        "state",
        ((state, stats.oldest_age_s.get(state, 0.0)) for state in State),
    )
    queued = {str(lane.lane): float(lane.queued) for lane in stats.lanes}
    active = {str(lane.lane): float(lane.active) for lane in stats.lanes}
    yield _labelled_gauge(
        "lane_queued", "Jobs queued in the longest lanes.", "lane", _largest(queued).items()
    )
    yield _labelled_gauge(
        "lane_active", "Jobs submitting or running.", "lane", _largest(active).items()
    )
    keys = {str(one.lane): float(one.fair_keys.waiting) for one in stats.lanes if one.fair_keys}
    yield _labelled_gauge(
        "lane_fair_keys", "Fair keys with jobs queued.", "lane", _largest(keys).items()
    )
    yield _labelled_gauge(
        "parked",
        "Parked jobs by code.",
        "code",
        snapshot.codes[State.PARKED].items(),
    )
    yield _labelled_gauge(
        "dead",
        "Dead letters by code.",
        "code",
        snapshot.codes[State.DEAD].items(),
    )
    yield _holds(snapshot.holds)
    yield from _breakers(stats.breakers)
    yield _labelled_gauge(
        "reconcile_off",
        "1 for each account where a late row switched reconcile off.",
        "account",
        [(one.account, 1) for one in stats.reconcile_off],
    )
    yield _plain_gauge("workers", "Workers with a fresh heartbeat.", len(stats.workers))
    troubled = sum(bool(worker.failures) for worker in stats.workers)
    yield _plain_gauge(
        "workers_troubled", "Workers with a service that is being restarted.", troubled
    )
    yield from _rate_limits(snapshot)
    yield from _deliveries(snapshot)
    yield from _callbacks(snapshot.callbacks, snapshot.now)
    yield from _credits(snapshot)


def _holds(holds: Mapping[tuple[str, str], int]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}holds", "Gates that are closed or opening.", labels=("phase", "code")
    )
    for labels, number in holds.items():
        family.add_metric(labels, number)
    return family


def _breakers(summaries: Sequence[BreakerSummary]) -> Iterator[Metric]:
    states = (BreakerState.OPEN, BreakerState.PROBING)
    found = Counter((one.breaker.cause, one.breaker.state) for one in summaries)
    family = GaugeMetricFamily(
        f"{PREFIX}breakers", "Breakers that are open or probing.", labels=("cause", "state")
    )
    for cause, state in itertools.product(BreakerCause, states):
        family.add_metric((cause, state), found[cause, state])
    yield family
    queued = {str(one.breaker.scope): float(one.queued_jobs) for one in summaries}
    yield _labelled_gauge(
        "breaker_queued",
        "Jobs queued in the scope of a breaker that stops or slows submits.",
        "scope",
        _largest(queued).items(),
    )


def _rate_limits(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    quota = sorted(snapshot.stats.rate_limits.items())[:MAX_NAMED_SERIES]
    limits = {route: float(seen.limit) for route, seen in quota if seen.limit is not None}
    left = {route: float(seen.remaining) for route, seen in quota if seen.remaining is not None}
    yield _labelled_gauge(
        "quota_limit", "Requests per window, as the provider reported.", "route", limits.items()
    )
    yield _labelled_gauge(
        "quota_remaining", "Requests left, as the provider last reported.", "route", left.items()
    )


def _deliveries(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    webhooks = snapshot.webhooks
    yield _plain_gauge("webhooks_waiting", "Deliveries that wait to be processed.", webhooks.due)
    yield _plain_gauge(
        "webhooks_orphaned", "Runs reported within a day that belong to no job.", webhooks.orphans
    )


def _callbacks(counts: CallbackCounts, now: float) -> Iterator[Metric]:
    numbers = ((state, counts.by_state[state]) for state in CallbackState)
    yield _labelled_gauge("callbacks_kept", "Callbacks by state.", "state", numbers)
    oldest_at = now if counts.oldest_pending_at is None else counts.oldest_pending_at
    yield _plain_gauge(
        "callback_oldest_seconds", "Age of the oldest pending callback.", max(0.0, now - oldest_at)
    )
    yield _plain_gauge("callback_bytes", "Bytes of all callbacks.", counts.used_bytes)
    yield _plain_gauge(
        "callback_hosts_down", "Hosts that callbacks do not reach.", counts.open_hosts
    )


def _credits(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    """Every budget is a series: there are at most `MAX_BUDGETS`."""
    budgets = [(one.status.budget.name, one) for one in snapshot.budgets]
    gauges: dict[str, tuple[str, Callable[[ShownBudget], float]]] = {
        "budget_limit_credits": (
            "Limit of a budget, each period.",
            lambda one: one.status.budget.limit,
        ),
        "budget_spent_credits": (
            "What ended attempts of this period cost.",
            lambda one: credits_of(one.status.use.spent),
        ),
        "budget_reserved_credits": (
            "What attempts under way may cost.",
            lambda one: credits_of(one.status.use.reserved),
        ),
        "budget_waiting_jobs": ("Queued jobs that a budget keeps back.", lambda one: one.waiting),
        "budget_closed": (
            "1 for a budget that has no room, or cannot be read.",
            lambda one: one.state in (BudgetState.CLOSED, BudgetState.UNREADABLE),
        ),
    }
    for metric, (text, value) in gauges.items():
        yield _labelled_gauge(metric, text, "budget", [(name, value(one)) for name, one in budgets])
    warnings = snapshot.stats.credit_warnings
    low = [one.name for one in warnings if one.cause is CreditWarningCause.BALANCE_LOW]
    yield _labelled_gauge(
        "balance_low",
        "1 for each account that is likely to run out of credits within the hour.",
        "account",
        [(account, 1) for account in low],
    )


def _labelled_gauge(
    name: str, text: str, label: str, numbers: Iterable[tuple[str, float]]
) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=(label,))
    for value, number in numbers:
        family.add_metric((value,), number)
    return family


def _plain_gauge(name: str, text: str, number: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=number)


def _largest(numbers: Mapping[str, float], limit: int = MAX_NAMED_SERIES) -> dict[str, float]:
    """The largest numbers by name, and the sum of the others as `other`."""
    ranked = sorted(numbers.items(), key=lambda entry: (-entry[1], entry[0]))
    found = dict(ranked[:limit])
    if rest := ranked[limit:]:
        found[OTHER] = found.get(OTHER, 0.0) + sum(number for _, number in rest)
    return found


# Counters.


def _counted_metrics(counters: Mapping[str, float]) -> Iterator[Metric]:
    fields: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for field, number in counters.items():
        name, *labels = field.split("|")
        fields[name][tuple(labels)] = number
    for name, meter in METRICS.items():
        found = fields[name]
        yield _histogram(name, meter, found) if meter.bounds else _counter(name, meter, found)


def _counter(name: str, definition: MetricSpec, values: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, definition.help, labels=definition.labels)
    numbers = dict.fromkeys(_INITIAL_SERIES.get(name, ()), 0.0) | dict(values)
    if definition.labels == ("target",):
        by_target = _largest({target: n for (target,), n in numbers.items()}, MAX_TARGETS)
        numbers = {(target,): number for target, number in by_target.items()}
    for labels, number in sorted(numbers.items()):
        if len(labels) == len(definition.labels):
            family.add_metric(labels, number)
    return family


def _histogram(
    name: str, definition: MetricSpec, values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, definition.help, labels=definition.labels)
    bounds = [*map(_format_bound, definition.bounds), "+Inf"]
    found = {field[:-1] for field in values}
    for labels in sorted(found or ({()} if not definition.labels else ())):
        counts = [values.get((*labels, str(n)), 0.0) for n in range(len(bounds))]
        family.add_metric(
            labels,
            buckets=list(zip(bounds, _cumulative(counts), strict=True)),
            sum_value=values.get((*labels, "sum"), 0.0),
        )
    return family


def _format_bound(bound: float) -> str:
    return repr(float(bound))


def _cumulative(counts: Iterable[float]) -> Iterator[float]:
    total = 0.0
    for count in counts:
        total += count
        yield total
