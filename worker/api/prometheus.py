"""From readings to the text that Prometheus scrapes (exposition format 0.0.4)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

from jobs.states import Kind, State
from worker.api.metrics_snapshot import Readings
from worker.store.metrics.catalog import CODES, METERS, OTHER, PREFIX, TARGETS_MOST, Meter

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

NAMES_MOST: Final = 50
"""Lanes and routes that have a line of their own; the others are added up as `other`."""

_ZEROS: Final[dict[str, Sequence[tuple[str, ...]]]] = {
    "jobs_enqueued": [(kind,) for kind in Kind],
    "jobs_settled": [
        (state, kind) for state in ("succeeded", "dead", "cancelled") for kind in Kind
    ],
    "jobs_uncertain": [()],
    "jobs_rescued": [("submitting",), ("running",)],
    "rate_limited": [("model",), ("workflow",), ("executions",)],
    "submits": [(kind, "accepted", "") for kind in Kind],
    "polls": [("finished",), ("running",)],
}
"""Counters that are there before anything happened: a rate needs a first value."""


def expose(readings: Readings | None) -> bytes:
    """The text; without readings only that Redis is away."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Shown(readings))
    return generate_latest(registry)


class _Shown(Collector):
    """What was read, as metrics."""

    def __init__(self, readings: Readings | None) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        up = 0.0 if self._readings is None else 1.0
        yield GaugeMetricFamily(f"{PREFIX}redis_up", "Whether Redis answers.", value=up)
        if self._readings is not None:
            yield from _gauges(self._readings)
            yield from _meters(self._readings.counters)


# How things stand.


def _gauges(readings: Readings) -> Iterator[Metric]:
    stats = readings.stats
    yield _by("jobs", "Jobs by state.", "state", stats.states.items())
    yield _by(
        "oldest_age_seconds",
        "Since the job that is longest in a state came there.",
        "state",
        ((state, stats.oldest.get(state, 0.0)) for state in State),
    )
    queued = {str(lane.lane): float(lane.queued) for lane in stats.lanes}
    active = {str(lane.lane): float(lane.active) for lane in stats.lanes}
    yield _by("lane_queued", "Jobs queued, the longest lanes.", "lane", _largest(queued).items())
    yield _by("lane_active", "Jobs submitting or running.", "lane", _largest(active).items())
    yield _by(
        "parked", "Parked jobs by code.", "code", _known(readings.codes[State.PARKED]).items()
    )
    yield _by("dead", "Dead letters by code.", "code", _known(readings.codes[State.DEAD]).items())
    yield _holds(readings.holds)
    yield _one("workers", "Workers that live.", len(stats.workers))
    troubled = sum(bool(worker.failures) for worker in stats.workers)
    yield _one("workers_troubled", "Workers with a service that is being restarted.", troubled)
    yield from _quota(readings)
    yield from _deliveries(readings)


def _holds(holds: Mapping[tuple[str, str], int]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}holds", "Gates that are closed or opening.", labels=("phase", "code")
    )
    counted: Counter[tuple[str, str]] = Counter()
    for (phase, code), number in holds.items():
        counted[phase, code if code in CODES else OTHER] += number
    for labels, number in counted.items():
        family.add_metric(labels, number)
    return family


def _quota(readings: Readings) -> Iterator[Metric]:
    quota = sorted(readings.stats.quota.items())[:NAMES_MOST]
    limits = {route: float(seen.limit) for route, seen in quota if seen.limit is not None}
    left = {route: float(seen.remaining) for route, seen in quota if seen.remaining is not None}
    yield _by("quota_limit", "Requests a window, as the provider told.", "route", limits.items())
    yield _by("quota_remaining", "Requests left, as the provider told last.", "route", left.items())


def _deliveries(readings: Readings) -> Iterator[Metric]:
    webhooks = readings.webhooks
    yield _one("webhooks_waiting", "Deliveries that wait to be worked on.", webhooks.due)
    yield _one(
        "webhooks_orphaned", "Runs told of within a day that belong to no job.", webhooks.orphans
    )


def _by(name: str, text: str, label: str, numbers: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=(label,))
    for value, number in numbers:
        family.add_metric((value,), number)
    return family


def _one(name: str, text: str, number: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=number)


def _largest(numbers: Mapping[str, float], most: int = NAMES_MOST) -> dict[str, float]:
    """The largest by name, and the sum of the others."""
    ranked = sorted(numbers.items(), key=lambda entry: (-entry[1], entry[0]))
    found = dict(ranked[:most])
    if rest := ranked[most:]:
        found[OTHER] = found.get(OTHER, 0.0) + sum(number for _, number in rest)
    return found


def _known(numbers: Mapping[str, int]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for code, number in numbers.items():
        found[code if code in CODES else OTHER] += number
    return found


# What was counted.


def _meters(counters: Mapping[str, float]) -> Iterator[Metric]:
    fields: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for field, number in counters.items():
        name, *labels = field.split("|")
        fields[name][tuple(labels)] = number
    for name, meter in METERS.items():
        found = fields[name]
        yield _histogram(name, meter, found) if meter.bounds else _counter(name, meter, found)


def _counter(name: str, meter: Meter, found: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, meter.help, labels=meter.labels)
    numbers = dict.fromkeys(_ZEROS.get(name, ()), 0.0) | dict(found)
    if meter.labels == ("target",):
        by_target = _largest({target: n for (target,), n in numbers.items()}, TARGETS_MOST)
        numbers = {(target,): number for target, number in by_target.items()}
    for labels, number in sorted(numbers.items()):
        if len(labels) == len(meter.labels):
            family.add_metric(labels, number)
    return family


def _histogram(name: str, meter: Meter, found: Mapping[tuple[str, ...], float]) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, meter.help, labels=meter.labels)
    bounds = [*map(_bound, meter.bounds), "+Inf"]
    for labels in sorted({field[:-1] for field in found}):
        counts = [found.get((*labels, str(n)), 0.0) for n in range(len(bounds))]
        family.add_metric(
            labels,
            buckets=list(zip(bounds, _summed(counts), strict=True)),
            sum_value=found.get((*labels, "sum"), 0.0),
        )
    return family


def _bound(bound: float) -> str:
    return repr(float(bound))


def _summed(counts: Iterable[float]) -> Iterator[float]:
    total = 0.0
    for count in counts:
        total += count
        yield total
