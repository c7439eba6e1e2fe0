"""What is counted: the one list of counters and histograms, with their labels and bounds.

A number is kept under `name|label|label…` in a hash of Redis, to which every process adds; of a
histogram each bucket, and `sum`, is a field of its own. Labels have few values: unknown codes, and
targets beyond the first `MAX_TARGETS`, count as `other`.
"""

from dataclasses import dataclass
from typing import Final

from jobs.job import (
    INPUTS_ERASED,
    INPUTS_LOST,
    MANUAL,
    NO_KEY,
    NOT_APPROVED,
    NOT_THE_API,
    OUTAGE,
    PAYLOAD_KEY_LOST,
    REDIRECTED,
    STUCK,
    UNCERTAIN,
)
from jobs.unreadable import UNREADABLE

PREFIX: Final = "knouds_"
OTHER: Final = "other"
MAX_TARGETS: Final = 50

CODES: Final = frozenset(
    {
        *(f"HTTP_{status}" for status in (400, 401, 402, 403, 404, 408, 409, 413, 422, 429)),
        *(f"HTTP_{status}" for status in (500, 502, 503, 504)),
        *(INPUTS_LOST, MANUAL, STUCK, UNCERTAIN, REDIRECTED, NOT_THE_API, NOT_APPROVED, OUTAGE),
        *("budget", INPUTS_ERASED, PAYLOAD_KEY_LOST, NO_KEY),
        *("INTERNAL_ERROR", "INVALID_REQUEST", UNREADABLE),
    }
)
"""Codes that are counted by name, beside those of the provider."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A counter, or with `bounds` a histogram."""

    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Upper bounds of the buckets but the last, which has none."""


_RUN_BOUNDS_S: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

DELAY_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)

METRICS: Final[dict[str, MetricSpec]] = {
    "jobs_enqueued": MetricSpec("Jobs that were enqueued.", ("kind",)),
    "jobs_settled": MetricSpec("Jobs that succeeded, died or were cancelled.", ("state", "kind")),
    "jobs_expired": MetricSpec("Jobs cancelled since they were not sent by their start_by."),
    "jobs_parked": MetricSpec("Jobs that were parked, by the code of the reason.", ("code",)),
    "jobs_uncertain": MetricSpec("Submits whose outcome is unknown."),
    "jobs_retried": MetricSpec("Backoffs that began, by the code of the error.", ("code",)),
    "jobs_rescued": MetricSpec("Jobs rescued from a lost worker, by their state.", ("state",)),
    "submits": MetricSpec(
        "Submits by outcome: accepted, finished, refused, not_sent, lost.",
        ("kind", "outcome", "code"),
    ),
    "breaker_trips": MetricSpec("Breakers that tripped, by cause.", ("cause",)),
    "breaker_probes": MetricSpec("Times that a breaker let canaries through.", ("cause",)),
    "polls": MetricSpec(
        "Polls by outcome: running, finished, failed, cancelled, missing, no_result,"
        " unknown_status, poll_failed, refused (401, 403), no_access (redirect, page), other_run.",
        ("outcome",),
    ),
    "rate_limited": MetricSpec("Responses 429, by route: model, workflow, executions.", ("route",)),
    "findings": MetricSpec(
        "Findings about submits whose outcome is unknown: pending, not_started, started, ambiguous,"
        " unknown.",
        ("finding",),
    ),
    "schedule_ticks": MetricSpec(
        "Ticks of schedules by outcome: enqueued, overlap, missed, refused, id_taken.",
        ("outcome",),
    ),
    "wrong_tokens": MetricSpec("Requests with a wrong token: to the API, or the login.", ("at",)),
    "webhooks_received": MetricSpec("Requests to /webhooks/knouds, by outcome.", ("outcome",)),
    "webhooks_handled": MetricSpec(
        "Deliveries by result: processed, known, ignored, orphaned.", ("outcome",)
    ),
    "callbacks": MetricSpec(
        "Tries to send callbacks, by result: delivered, retried, failed; lost: events for which"
        " the outbox had no room.",
        ("result",),
    ),
    "callback_delay_seconds": MetricSpec(
        "From the event to the answer of the receiver that took its callback.",
        (),
        DELAY_BOUNDS_S,
    ),
    "wakeups_refused": MetricSpec(
        "Wake-ups and notices that Redis refused after a change was written, by its first word.",
        ("reason",),
    ),
    "credits_spent": MetricSpec(
        "Credits that runs cost, as far as the provider reports them.", ("target",)
    ),
    "completion_delay_seconds": MetricSpec(
        "From the end of a run to its record. By poll: an upper bound, from the last poll that"
        " found it running. By webhook: from the delivery's arrival.",
        ("seen_by",),
        DELAY_BOUNDS_S,
    ),
    "run_duration_seconds": MetricSpec(
        "From the submit to the record of the end, of runs that succeeded.",
        ("kind",),
        _RUN_BOUNDS_S,
    ),
    "queue_wait_seconds": MetricSpec(
        "From entering the lane to the admission.", ("kind",), (0.05, 0.25, *_RUN_BOUNDS_S)
    ),
    "job_attempts": MetricSpec(
        "Attempts that settled jobs took.", ("state",), (0.0, 1.0, 2.0, 3.0, 5.0, 10.0)
    ),
}
