"""Writes findings to jobs, by compare-and-set, and what follows from them under `reconcile`."""

from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from jobs import transitions
from jobs.evidence.assess import EvidenceRules
from jobs.evidence.records import Assessment, EvidenceFinding, UncertainSubmit, merged
from jobs.evidence.schedule import next_check_at
from jobs.job import Job
from worker.clock import Clock
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeups
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.evidence import ReconcileOff

log: Final = structlog.get_logger(__name__)

MAX_TRIES: Final = 20
"""Tries of a write: each lost race means that another process changed the job."""


class EvidenceWriter:
    """Writes what a reading says about the uncertain submits of a job."""

    def __init__(self, store: Store, clock: Clock, wakeups: Wakeups) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups

    async def write(
        self, stored: VersionedJob, found: Mapping[int, Assessment], rules: EvidenceRules
    ) -> Job | None:
        """Write assessments by attempt number; returns the job after it, None if it is gone.

        Each try merges them into the record as it is then, so an older reading cannot undo a newer
        one. A submit that is due without an assessment only gets its next time.
        """
        current: VersionedJob | None = stored
        for _ in range(MAX_TRIES):
            if current is None:
                return None
            is_off = await self._is_reconcile_off(current.job)
            after = _with_findings(
                current.job, found, rules, self._clock.now(), is_reconcile_off=is_off
            )
            if after is current.job:
                return after
            written = await self._store.jobs.commit(current, after)
            if isinstance(written, VersionedJob):
                self._report(current.job, after)
                return written.job
            (current,) = await load_jobs(self._store.jobs, [current.job.id], self._clock.now())
        return None

    async def switch_reconcile_off(self, job: Job, submit: UncertainSubmit) -> None:
        """A row appeared later than the grace: trust no more missing rows."""
        row_id = submit.rows[0].id if submit.rows else None
        why = ReconcileOff(job.account, self._clock.now(), job.id, row_id)
        if await self._store.evidence.switch_reconcile_off(why):
            log.error("reconcile.switched_off", account=job.account, job_id=job.id, row_id=row_id)

    async def _is_reconcile_off(self, job: Job) -> bool:
        if not job.awaits_finding:
            return False
        return any(one.account == job.account for one in await self._store.evidence.reconcile_off())

    def _report(self, before: Job, after: Job) -> None:
        known = {submit.number: submit for submit in before.uncertain_submits}
        for submit in after.uncertain_submits:
            was = known.get(submit.number)
            if was is not None and was.finding is not submit.finding:
                self._store.metrics.buffer.finding_made(submit.finding)
                log.info(
                    "finding.made",
                    job_id=after.id,
                    attempt=submit.number,
                    finding=submit.finding.value,
                    note=submit.note,
                )
        if before.state is not after.state:
            log.info("job.reconciled", job_id=after.id, state=after.state.value)
            self._wakeups.admission.notify()


def _with_findings(
    job: Job,
    found: Mapping[int, Assessment],
    rules: EvidenceRules,
    now: float,
    *,
    is_reconcile_off: bool,
) -> Job:
    """The job with its findings, and sent on or parked where it waited for one."""
    submits = tuple(_checked(submit, found, rules, now) for submit in job.uncertain_submits)
    if submits == job.uncertain_submits:
        return job
    job = transitions.record_findings(job, now, submits)
    if not job.awaits_finding or not submits[-1].is_final:
        return job
    if job.finding is not EvidenceFinding.NOT_STARTED:
        return transitions.park_awaiting(job, now, note=f"{job.finding}: {submits[-1].note}")
    if is_reconcile_off:
        return transitions.park_awaiting(
            job, now, note="not started, but reconcile is switched off for the account"
        )
    return transitions.resubmit_not_started(job, now)


def _needs_no_reading(submit: UncertainSubmit, rules: EvidenceRules, now: float) -> bool:
    """Whether a submit that is due only gets another time: its grace runs, or its watch is over."""
    if submit.check_at is None or submit.check_at > now:
        return False
    is_unripe = now < submit.sent_at + rules.grace_of(submit.mode)
    return is_unripe or next_check_at(submit, rules, now) is None


def _checked(
    submit: UncertainSubmit,
    found: Mapping[int, Assessment],
    rules: EvidenceRules,
    now: float,
) -> UncertainSubmit:
    if (assessment := found.get(submit.number)) is not None:
        submit = merged(submit, assessment, now)
    elif not _needs_no_reading(submit, rules, now):
        return submit
    return msgspec.structs.replace(submit, check_at=next_check_at(submit, rules, now))
