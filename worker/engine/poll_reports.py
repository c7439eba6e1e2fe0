"""What polls say beside the state of their run: counted, and logged once for each cause.

A poll that is refused, redirected or answered by a page is a problem of the worker's health: the
overview, the doctor and the heartbeat show it until a poll of the account is answered.
"""

from typing import Final

import structlog

from jobs.inconclusive_polls import other_run
from jobs.job import Job
from jobs.outcomes import CallFailure, PollOutcome, StillRunning
from worker.engine.supervisor import ServiceHealth
from worker.store.metrics.buffer import MetricsBuffer

log: Final = structlog.get_logger(__name__)

MAX_REMEMBERED: Final = 1_000
"""Statuses and runs that were logged; the provider decides how many there are."""


class PollReports:
    """Counts and logs what polls came to."""

    def __init__(self, buffer: MetricsBuffer, health: ServiceHealth) -> None:
        self._buffer = buffer
        self._health = health
        self._logged: set[str] = set()
        self._no_access: dict[str, str] = {}
        """By account: the status that its last poll was refused or redirected with."""

    def record(self, job: Job, outcome: PollOutcome) -> None:
        """Note the outcome of a poll."""
        other = other_run(job, outcome)
        self._buffer.polled(outcome, is_other_run=other is not None)
        if other is not None:
            facts = {"execution_id": job.execution_id, "answered_for": other}
            self._warn_once("poll.other_run", f"{job.id} {other}", job_id=job.id, **facts)
        elif isinstance(outcome, StillRunning) and not outcome.is_known:
            facts = {"status": outcome.status, "execution_id": job.execution_id}
            self._warn_once("poll.status_unknown", outcome.status, job_id=job.id, **facts)
        self._record_access(job.account, outcome)

    def _record_access(self, account: str, outcome: PollOutcome) -> None:
        name = f"polls of account {account}"
        if not isinstance(outcome, CallFailure):
            if self._no_access.pop(account, None) is not None:
                self._health.record_recovery(name)
                log.info("polls.resumed", account=account)
        elif outcome.is_no_access:
            cause = str(outcome.http_status)
            if self._no_access.get(account) != cause:
                self._no_access[account] = cause
                self._health.record_problem(name, outcome.logged_why)
                log.warning("polls.refused", account=account, why=outcome.logged_why)

    def _warn_once(self, event: str, key: str, **facts: object) -> None:
        if len(self._logged) < MAX_REMEMBERED and (once := f"{event} {key}") not in self._logged:
            self._logged.add(once)
            log.warning(event, **facts)
