"""Counting in memory: what happened since the last flush, cheap enough for the hot path.

Each event is a few increments of a dict. `worker.store.metrics.counters` writes them to Redis
every few seconds; what a process that dies has not written yet is not counted.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobs.job import Job
from jobs.outcomes import (
    Accepted,
    Finished,
    Lost,
    Missing,
    NoLook,
    NotSent,
    PollAnswer,
    Refused,
    RunCancelled,
    RunFailed,
    StillRunning,
    SubmitAnswer,
)
from jobs.states import SETTLED, State
from jobs.transitions import UNCERTAIN
from worker.store.metrics.catalog import CODES, DELAY_BOUNDS, METERS, OTHER, TARGETS_MOST

TOO_MANY: Final = 429

_SUBMITS: Final[dict[type, str]] = {
    Accepted: "accepted",
    Finished: "finished",
    Refused: "refused",
    NotSent: "not_sent",
    Lost: "lost",
}
_POLLS: Final[dict[type, str]] = {
    StillRunning: "running",
    Finished: "finished",
    RunFailed: "failed",
    RunCancelled: "cancelled",
    Missing: "missing",
    NoLook: "no_look",
    Lost: "lost",
}

_WAIT: Final = METERS["queue_wait_seconds"].bounds
_DURATION: Final = METERS["run_duration_seconds"].bounds
_ATTEMPTS: Final = METERS["job_attempts"].bounds


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted: totals by field, and the same by the fields of the series."""

    totals: Mapping[str, float]
    series: Mapping[str, float]


class Tally:
    """What happened in this process since it was last taken."""

    def __init__(self) -> None:
        self._totals: dict[str, float] = {}
        self._series: dict[str, float] = {}
        self._targets: set[str] = set()

    # What happens.

    def moved(self, before: Job | None, after: Job) -> None:
        """A job's next version was written."""
        if before is None:
            self._add(f"jobs_enqueued|{after.kind}")
            self._plot("enqueued")
            return
        spent = (after.cost or 0.0) - (before.cost or 0.0)
        if spent > 0:
            self._add(f"credits_spent|{self._target(after)}", spent)
            self._plot("credits", spent)
        if before.state is not after.state:
            self._entered(before, after)

    def _entered(self, before: Job, after: Job) -> None:
        state = after.state
        if state is State.SUBMITTING and before.queued_at is not None:
            wait = after.updated_at - before.queued_at
            self._observe(f"queue_wait_seconds|{after.kind}", wait, _WAIT)
        elif state in SETTLED:
            self._settled(after)
        elif state is State.PARKED:
            code = _code(after)
            self._add(f"jobs_parked|{code}")
            self._plot("parked")
            if code == UNCERTAIN:
                self._add("jobs_uncertain")
        elif state is State.RETRYING:
            self._add(f"jobs_retried|{_code(after)}")

    def _settled(self, job: Job) -> None:
        self._add(f"jobs_settled|{job.state}|{job.kind}")
        self._observe(f"job_attempts|{job.state}", job.submits, _ATTEMPTS)
        self._plot(job.state.value)
        if job.state is State.SUCCEEDED and job.submitted_at is not None:
            took = job.updated_at - job.submitted_at
            self._observe(f"run_duration_seconds|{job.kind}", took, _DURATION)

    def submitted(self, kind: str, answer: SubmitAnswer) -> None:
        """A submit came back, or did not."""
        code = ""
        if isinstance(answer, Refused):
            code = _known(answer.fault.name)
            if answer.fault.http_status == TOO_MANY:
                self._limited(kind)
        self._add(f"submits|{kind}|{_SUBMITS[type(answer)]}|{code}")
        self._plot("submits")

    def polled(self, answer: PollAnswer) -> None:
        """A look at a run came back, or did not."""
        if isinstance(answer, NoLook) and answer.http_status == TOO_MANY:
            self._limited("executions")
        self._add(f"polls|{_POLLS[type(answer)]}")
        self._plot("polls")

    def found_ended(self, seen_by: str, delay_s: float) -> None:
        """The end of a run is on record, so long after it (`seen_by`: poll or webhook)."""
        self._observe(f"completion_delay_seconds|{seen_by}", delay_s, DELAY_BOUNDS)
        self._plot(f"delay{bisect_left(DELAY_BOUNDS, delay_s)}")

    def rescued(self, state: str) -> None:
        """A job was taken from a worker that was lost."""
        self._add(f"jobs_rescued|{state}")

    def received(self, outcome: str) -> None:
        """A request to the webhooks' path was answered."""
        self._add(f"webhooks_received|{outcome}")

    def handled(self, outcome: str) -> None:
        """A delivery was worked on."""
        self._add(f"webhooks_handled|{outcome}")

    def _limited(self, route: str) -> None:
        self._add(f"rate_limited|{route}")
        self._plot("rate_limited")

    # Adding up.

    def _add(self, field: str, amount: float = 1) -> None:
        self._totals[field] = self._totals.get(field, 0) + amount

    def _plot(self, field: str, amount: float = 1) -> None:
        self._series[field] = self._series.get(field, 0) + amount

    def _observe(self, field: str, value: float, bounds: tuple[float, ...]) -> None:
        value = max(0.0, value)
        self._add(f"{field}|{bisect_left(bounds, value)}")
        self._add(f"{field}|sum", value)

    def _target(self, job: Job) -> str:
        target = f"{job.kind}/{job.target}"
        if target in self._targets:
            return target
        if len(self._targets) >= TARGETS_MOST:
            return OTHER
        self._targets.add(target)
        return target

    # Taking.

    def take(self) -> Counted:
        """What was counted since the last time; counting starts anew."""
        taken = Counted(self._totals, self._series)
        self._totals, self._series = {}, {}
        return taken

    def give_back(self, taken: Counted) -> None:
        """Count again what could not be brought anywhere."""
        for field, amount in taken.totals.items():
            self._add(field, amount)
        for field, amount in taken.series.items():
            self._plot(field, amount)


def _code(job: Job) -> str:
    return _known(job.reason.code) if job.reason is not None else OTHER


def _known(code: str) -> str:
    return code if code in CODES else OTHER
