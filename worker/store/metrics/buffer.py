"""Counts in memory since the last flush, cheap enough for the hot path.

Each event is a few increments of a dict. `worker.store.metrics.counters` writes them to Redis
every few seconds; what a process that dies has not written yet is not counted.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from jobs.job import EXPIRED, UNCERTAIN, Job
from jobs.lanes import target_name
from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    NotSent,
    PollOutcome,
    Refused,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
    SubmitOutcome,
)
from jobs.states import SETTLED, State
from worker.store.metrics.catalog import CODES, DELAY_BOUNDS_S, MAX_TARGETS, METRICS, OTHER

TOO_MANY_REQUESTS: Final = 429

CREDITS_OF: Final = "credits|"
"""Before an account, the field of a series with the credits of that account."""

_SUBMIT_OUTCOMES: Final[dict[type, str]] = {
    Accepted: "accepted",
    Finished: "finished",
    Refused: "refused",
    NotSent: "not_sent",
    Lost: "lost",
}
_POLL_OUTCOMES: Final[dict[type, str]] = {
    StillRunning: "running",
    Finished: "finished",
    RunFailed: "failed",
    RunCancelled: "cancelled",
    RunMissing: "missing",
    CallFailure: "poll_failed",
    Lost: "no_result",
}

_WAIT_BOUNDS_S: Final = METRICS["queue_wait_seconds"].bounds
_DURATION_BOUNDS_S: Final = METRICS["run_duration_seconds"].bounds
_ATTEMPT_BOUNDS: Final = METRICS["job_attempts"].bounds


def _poll_label(outcome: PollOutcome) -> str:
    match outcome:
        case CallFailure(is_refused=True):
            return "refused"
        case CallFailure(is_no_access=True):
            return "no_access"
        case StillRunning(is_known=False):
            return "unknown_status"
        case _:
            return _POLL_OUTCOMES[type(outcome)]


@dataclass(frozen=True, slots=True)
class MetricDeltas:
    """What was counted: totals by field, and the same by the fields of the series."""

    totals: Mapping[str, float]
    series: Mapping[str, float]


class MetricsBuffer:
    """What this process counted since the last drain."""

    def __init__(self, error_codes: Iterable[str] = ()) -> None:
        self._codes = CODES.union(error_codes)
        self._totals: dict[str, float] = {}
        self._series: dict[str, float] = {}
        self._targets: set[str] = set()

    # Events.

    def job_changed(self, before: Job | None, after: Job) -> None:
        """A job's next version was written."""
        if before is None:
            self._add(f"jobs_enqueued|{after.kind}")
            self._add_to_series("enqueued")
            return
        spent = (after.cost or 0.0) - (before.cost or 0.0)
        if spent > 0:
            self._add(f"credits_spent|{self._target_label(after)}", spent)
            self._add_to_series("credits", spent)
            self._add_to_series(f"{CREDITS_OF}{after.account}", spent)
        if before.state is not after.state:
            self._state_entered(before, after)

    def _state_entered(self, before: Job, after: Job) -> None:
        state = after.state
        if state is State.SUBMITTING and before.queued_at is not None:
            wait = after.updated_at - before.queued_at
            self._observe(f"queue_wait_seconds|{after.kind}", wait, _WAIT_BOUNDS_S)
        elif state in SETTLED:
            self._job_settled(after)
        elif state is State.PARKED:
            code = self._reason_label(after)
            self._add(f"jobs_parked|{code}")
            self._add_to_series("parked")
            if code == UNCERTAIN:
                self._add("jobs_uncertain")
        elif state is State.RETRYING:
            self._add(f"jobs_retried|{self._reason_label(after)}")

    def _job_settled(self, job: Job) -> None:
        self._add(f"jobs_settled|{job.state}|{job.kind}")
        if job.reason is not None and job.reason.code == EXPIRED:
            self._add("jobs_expired")
        self._observe(f"job_attempts|{job.state}", job.submits, _ATTEMPT_BOUNDS)
        self._add_to_series(job.state.value)
        if job.state is State.SUCCEEDED and job.submitted_at is not None:
            took = job.updated_at - job.submitted_at
            self._observe(f"run_duration_seconds|{job.kind}", took, _DURATION_BOUNDS_S)

    def submitted(self, kind: str, outcome: SubmitOutcome) -> None:
        """A submit has an outcome."""
        code = ""
        if isinstance(outcome, Refused):
            code = self.code_label(outcome.error.display_code)
            if outcome.error.http_status == TOO_MANY_REQUESTS:
                self._rate_limited(kind)
        self._add(f"submits|{kind}|{_SUBMIT_OUTCOMES[type(outcome)]}|{code}")
        self._add_to_series("submits")

    def polled(self, outcome: PollOutcome, *, is_other_run: bool = False) -> None:
        """A poll has an outcome; `is_other_run`: the answer names another run."""
        if isinstance(outcome, CallFailure) and outcome.http_status == TOO_MANY_REQUESTS:
            self._rate_limited("executions")
        self._add(f"polls|{'other_run' if is_other_run else _poll_label(outcome)}")
        self._add_to_series("polls")

    def run_end_recorded(self, seen_by: str, delay_s: float) -> None:
        """The end of a run was recorded `delay_s` after it (`seen_by`: poll or webhook)."""
        self._observe(f"completion_delay_seconds|{seen_by}", delay_s, DELAY_BOUNDS_S)
        self._add_to_series(f"delay{bisect_left(DELAY_BOUNDS_S, delay_s)}")

    def callback_sent(self, result: str) -> None:
        """A callback was tried: `delivered`, `retried` or `failed`."""
        self._add(f"callbacks|{result}")

    def callback_delivered(self, delay_s: float) -> None:
        """A receiver took a callback `delay_s` after its event."""
        self._observe("callback_delay_seconds", delay_s, DELAY_BOUNDS_S)

    def job_rescued(self, state: str) -> None:
        """A job was rescued from a worker that was lost."""
        self._add(f"jobs_rescued|{state}")

    def breaker_opened(self, cause: str, *, tripped: bool) -> None:
        """A breaker opened: it tripped, or its canary failed."""
        if tripped:
            self._add(f"breaker_trips|{cause}")

    def breaker_probed(self, cause: str) -> None:
        """A breaker let canaries through."""
        self._add(f"breaker_probes|{cause}")

    def schedule_ticked(self, outcome: str, count: int = 1) -> None:
        """Ticks of a schedule made a job (`enqueued`), or were left out for a cause."""
        self._add(f"schedule_ticks|{outcome}", count)

    def finding_made(self, finding: str) -> None:
        """The provider's list of runs told more about an uncertain submit."""
        self._add(f"findings|{finding}")

    def wrong_token(self, where: str) -> None:
        """A request had a wrong token: `api`, or `login`."""
        self._add(f"wrong_tokens|{where}")

    def webhook_received(self, outcome: str) -> None:
        """A webhook request was answered."""
        self._add(f"webhooks_received|{outcome}")

    def webhook_processed(self, outcome: str) -> None:
        """A delivery was processed."""
        self._add(f"webhooks_handled|{outcome}")

    def announcement_refused(self, reason: str) -> None:
        """Redis refused a wake-up or a notice of the event stream, after the change was written."""
        self._add(f"wakeups_refused|{reason}")

    def _rate_limited(self, route: str) -> None:
        self._add(f"rate_limited|{route}")
        self._add_to_series("rate_limited")

    # Adding up.

    def _add(self, field: str, amount: float = 1) -> None:
        self._totals[field] = self._totals.get(field, 0) + amount

    def _add_to_series(self, field: str, amount: float = 1) -> None:
        self._series[field] = self._series.get(field, 0) + amount

    def _observe(self, field: str, value: float, bounds: tuple[float, ...]) -> None:
        value = max(0.0, value)
        self._add(f"{field}|{bisect_left(bounds, value)}")
        self._add(f"{field}|sum", value)

    def _target_label(self, job: Job) -> str:
        target = target_name(job.kind, job.target)
        if target in self._targets:
            return target
        if len(self._targets) >= MAX_TARGETS:
            return OTHER
        self._targets.add(target)
        return target

    def code_label(self, code: str) -> str:
        """Return the label value of a code: itself if it is known, else `other`."""
        return code if code in self._codes else OTHER

    def _reason_label(self, job: Job) -> str:
        return self.code_label(job.reason.code) if job.reason is not None else OTHER

    # Draining.

    def drain(self) -> MetricDeltas:
        """What was counted since the last drain; the counts start at zero again."""
        deltas = MetricDeltas(self._totals, self._series)
        self._totals, self._series = {}, {}
        return deltas
