"""The jobs of schedules: made of their request as an enqueue of it would be."""

from dataclasses import replace
from typing import Any

from jobs.job import Job
from jobs.requests import JobRequest, new_job
from jobs.schedules.record import Schedule, tick_job_id
from jobs.tenants import tenant_job_id, tenant_of
from worker.app.callback_policy import CallbackPolicy
from worker.app.enqueue import InvalidRequest, JobDefaults
from worker.app.job_request_parser import parse_job_request
from worker.store.codec import DECODE_ERRORS, decode


def parse_scheduled_job(job: dict[str, Any], max_inputs_bytes: int) -> JobRequest:
    """Read the job request of a schedule; raises `InvalidRequest` with a field `job.…`."""
    for name in ("id", "run_at", "delay_s", "start_by", "after"):
        if name in job:
            raise InvalidRequest(f"job.{name}", "cannot be given: each tick has its own")
    if "metadata" in job:  # the job of a schedule is stored as it is, but for its inputs
        raise InvalidRequest("job.metadata", "cannot be given: its jobs name their schedule")
    try:
        _, request = parse_job_request(job, max_inputs_bytes=max_inputs_bytes)
    except InvalidRequest as error:
        raise InvalidRequest(f"job.{error.field}", str(error)) from None
    return request


class ScheduleJobs:
    """The `TickJobs` of the schedule ticker."""

    def __init__(
        self,
        defaults: JobDefaults,
        max_inputs_bytes: int,
        callbacks: CallbackPolicy | None = None,
    ) -> None:
        self._defaults = defaults
        self._max_inputs_bytes = max_inputs_bytes
        self._callbacks = callbacks or CallbackPolicy()

    def parse(self, job: dict[str, Any]) -> JobRequest:
        """Read and check the job request of a schedule; raises `InvalidRequest`."""
        request = parse_scheduled_job(job, self._max_inputs_bytes)
        try:
            self._callbacks.check(request)
        except InvalidRequest as error:
            raise InvalidRequest(f"job.{error.field}", str(error)) from None
        return request

    def request_of(self, schedule: Schedule, inputs: bytes) -> JobRequest:
        """The job request of a schedule, checked anew; raises `InvalidRequest`.

        `inputs`: a JSON object, as it is stored.
        """
        try:
            decoded = decode(inputs)
        except DECODE_ERRORS:
            raise InvalidRequest("job.inputs", "cannot be read: set the schedule anew") from None
        return self.parse({**schedule.job, "inputs": decoded})

    def job_of_tick(self, schedule: Schedule, inputs: bytes, tick: int, now: float) -> Job:
        """The job of a tick (Unix seconds); raises `InvalidRequest`."""
        request = replace(self.request_of(schedule, inputs), run_at=float(tick))
        defaults = self._defaults
        return new_job(
            request,
            tenant_job_id(tenant_of(schedule.name), tick_job_id(schedule.name, tick)),
            now,
            max_attempts=defaults.max_attempts,
            deadline_s=defaults.deadline_s,
            on_uncertain=defaults.on_uncertain,
            callback_url=self._callbacks.default_url(request.account),
            by=schedule.set_by,
            counted_for=schedule.counted_for,
            schedule=schedule.name,
        )
