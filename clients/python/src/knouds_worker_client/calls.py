# Written by `make clients` from /openapi.json. Do not edit.

"""The operations of the API, one method each."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from . import models
from .decoding import decode
from .requests import Request, path


class Calls:
    """A method for each operation. Each raises `ApiError` and `ConnectionFailed`."""

    def _send(self, request: Request) -> Any:
        raise NotImplementedError

    def enqueue_job(
        self,
        *,
        kind: models.Kind,
        target: str,
        inputs: dict[str, Any],
        id: str | None = None,
        priority: int | None = None,
        tags: list[str] | None = None,
        batch: str | None = None,
        fair_key: str | None = None,
        run_at: datetime | None = None,
        delay_s: float | None = None,
        start_by: datetime | None = None,
        max_attempts: int | None = None,
        deadline_s: float | None = None,
        on_uncertain: models.OnUncertain | None = None,
        callback_url: str | None = None,
        metadata: dict[str, str | bool | int | float] | None = None,
        after: list[str] | None = None,
        account: str | None = None,
    ) -> models.Job | models.EnqueuedJob:
        """Enqueue a job.

        Needs a token of the role `enqueue` or above.

        kind: "model" or "workflow"
        target: a model's internal name or a workflow's slug: lowercase letters, digits and
        hyphens, as gpt-image-2
        inputs: a JSON object, the inputs of the run
        id: 1 to 128 letters, digits and . _ : @ - that start with a letter or digit; the
        same id never makes a second job
        priority: a whole number from -100 to 100, higher first
        tags: at most 20 texts of 1 to 64 letters, digits and . _ : @ / + = -
        batch: 1 to 128 letters, digits and . _ : @ / + = -
        fair_key: 1 to 128 letters, digits and . _ : @ / + = -, a tenant or user: in a lane,
        keys take turns
        run_at: when to run it, within ten years: an RFC 3339 time with a zone, as
        2030-01-31T09:30:00Z
        delay_s: seconds from now, from 0 to ten years; run_at names a time instead
        start_by: it is cancelled unless it is sent by this time, within ten years: an RFC
        3339 time with a zone, as 2030-01-31T09:30:00Z
        max_attempts: a whole number from 1 to 100
        deadline_s: seconds above 0, at most 366 days, that a submitted run may take
        on_uncertain: "park", "reconcile", or "retry", which may pay for a run twice;
        KNOUDS_ON_UNCERTAIN if omitted
        callback_url: a URL of a host in KNOUDS_CALLBACK_HOSTS that hears how the job ends;
        KNOUDS_CALLBACK_URL if omitted
        metadata: a JSON object of at most 16 texts, numbers, true or false under names of 1
        to 64 characters, 1024 bytes of JSON in all; shown wherever the job is shown
        after: ids of at most 50 jobs that have to succeed first; inputs may take from their
        results: {"$result": "id", "pointer": "/images/0"}
        account: an account label: lowercase letters, digits, _ and -, at most 63, starting
        with a letter or digit.
        """
        answer: models.Job | models.EnqueuedJob = decode(
            models.Job | models.EnqueuedJob,
            self._send(
                Request(
                    "POST",
                    "/v1/jobs",
                    body={
                        "kind": kind,
                        "target": target,
                        "inputs": inputs,
                        "id": id,
                        "priority": priority,
                        "tags": tags,
                        "batch": batch,
                        "fair_key": fair_key,
                        "run_at": run_at,
                        "delay_s": delay_s,
                        "start_by": start_by,
                        "max_attempts": max_attempts,
                        "deadline_s": deadline_s,
                        "on_uncertain": on_uncertain,
                        "callback_url": callback_url,
                        "metadata": metadata,
                        "after": after,
                        "account": account,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def list_jobs(
        self,
        *,
        state: models.State | None = None,
        kind: models.Kind | None = None,
        target: str | None = None,
        code: str | None = None,
        cause: str | None = None,
        tag: str | None = None,
        batch: str | None = None,
        fair_key: str | None = None,
        after: str | None = None,
        account: str | None = None,
        finding: models.EvidenceFinding | None = None,
        tenant: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.JobPage:
        """A page of jobs, newest first.

        Needs a token of the role `watch` or above, or one with `own`.

        state: one of scheduled, waiting, queued, submitting, running, retrying, parked,
        cancelling, succeeded, dead, cancelled
        kind: model or workflow
        target: a target, as gpt-image-2
        code: a reason's code, as uncertain
        cause: why the outcome of an uncertain job is unknown, as HTTP_502
        tag: one tag
        batch: one batch; one of a tenant, for others, as <tenant>~<batch>
        fair_key: one fair key; one of a tenant, for others, as <tenant>~<key>
        after: the id of a job that they were enqueued to wait for
        account: an account label
        finding: of jobs parked as uncertain, one of pending, not_started, started,
        ambiguous, unknown
        tenant: a tenant's name
        since: created at or after: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z
        until: created before: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z
        limit: a whole number from 1 to 500
        cursor: the next_cursor of the previous page.
        """
        answer: models.JobPage = decode(
            models.JobPage,
            self._send(
                Request(
                    "GET",
                    "/v1/jobs",
                    query={
                        "state": state,
                        "kind": kind,
                        "target": target,
                        "code": code,
                        "cause": cause,
                        "tag": tag,
                        "batch": batch,
                        "fair_key": fair_key,
                        "after": after,
                        "account": account,
                        "finding": finding,
                        "tenant": tenant,
                        "since": since,
                        "until": until,
                        "limit": limit,
                        "cursor": cursor,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def enqueue_jobs(self, *, jobs: list[models.JobRequestBody]) -> models.BulkEnqueue:
        """Enqueue many jobs. Each is accepted or refused by itself.

        Needs a token of the role `enqueue` or above.

        jobs: an array of at most 1000 job requests.
        """
        answer: models.BulkEnqueue = decode(
            models.BulkEnqueue,
            self._send(Request("POST", "/v1/jobs/bulk", body={"jobs": jobs}, is_repeatable=True)),
        )
        return answer

    def preview_job(
        self,
        *,
        kind: models.Kind,
        target: str,
        inputs: dict[str, Any],
        id: str | None = None,
        priority: int | None = None,
        tags: list[str] | None = None,
        batch: str | None = None,
        fair_key: str | None = None,
        run_at: datetime | None = None,
        delay_s: float | None = None,
        start_by: datetime | None = None,
        max_attempts: int | None = None,
        deadline_s: float | None = None,
        on_uncertain: models.OnUncertain | None = None,
        callback_url: str | None = None,
        metadata: dict[str, str | bool | int | float] | None = None,
        after: list[str] | None = None,
        account: str | None = None,
    ) -> models.RunPreview:
        """Answer what an enqueue would say of its run, and enqueue nothing.

        Needs a token of the role `enqueue` or above.

        kind: "model" or "workflow"
        target: a model's internal name or a workflow's slug: lowercase letters, digits and
        hyphens, as gpt-image-2
        inputs: a JSON object, the inputs of the run
        id: 1 to 128 letters, digits and . _ : @ - that start with a letter or digit; the
        same id never makes a second job
        priority: a whole number from -100 to 100, higher first
        tags: at most 20 texts of 1 to 64 letters, digits and . _ : @ / + = -
        batch: 1 to 128 letters, digits and . _ : @ / + = -
        fair_key: 1 to 128 letters, digits and . _ : @ / + = -, a tenant or user: in a lane,
        keys take turns
        run_at: when to run it, within ten years: an RFC 3339 time with a zone, as
        2030-01-31T09:30:00Z
        delay_s: seconds from now, from 0 to ten years; run_at names a time instead
        start_by: it is cancelled unless it is sent by this time, within ten years: an RFC
        3339 time with a zone, as 2030-01-31T09:30:00Z
        max_attempts: a whole number from 1 to 100
        deadline_s: seconds above 0, at most 366 days, that a submitted run may take
        on_uncertain: "park", "reconcile", or "retry", which may pay for a run twice;
        KNOUDS_ON_UNCERTAIN if omitted
        callback_url: a URL of a host in KNOUDS_CALLBACK_HOSTS that hears how the job ends;
        KNOUDS_CALLBACK_URL if omitted
        metadata: a JSON object of at most 16 texts, numbers, true or false under names of 1
        to 64 characters, 1024 bytes of JSON in all; shown wherever the job is shown
        after: ids of at most 50 jobs that have to succeed first; inputs may take from their
        results: {"$result": "id", "pointer": "/images/0"}
        account: an account label: lowercase letters, digits, _ and -, at most 63, starting
        with a letter or digit.
        """
        answer: models.RunPreview = decode(
            models.RunPreview,
            self._send(
                Request(
                    "POST",
                    "/v1/jobs/dry-run",
                    body={
                        "kind": kind,
                        "target": target,
                        "inputs": inputs,
                        "id": id,
                        "priority": priority,
                        "tags": tags,
                        "batch": batch,
                        "fair_key": fair_key,
                        "run_at": run_at,
                        "delay_s": delay_s,
                        "start_by": start_by,
                        "max_attempts": max_attempts,
                        "deadline_s": deadline_s,
                        "on_uncertain": on_uncertain,
                        "callback_url": callback_url,
                        "metadata": metadata,
                        "after": after,
                        "account": account,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def get_job(self, id: str) -> models.Job:
        """A job with its inputs and result.

        Needs a token of the role `watch` or above, or one with `own`.
        """
        answer: models.Job = decode(
            models.Job, self._send(Request("GET", path("/v1/jobs/{id}", id=id), is_repeatable=True))
        )
        return answer

    def edit_job(
        self,
        id: str,
        *,
        note: str | None = None,
        priority: int | None = None,
        tags: list[str] | None = None,
        run_at: str | None = None,
        start_by: str | None = None,
    ) -> models.Job:
        """Change priority, tags or times of a job that is not at the provider; absent fields
        stay.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        priority: a whole number from -100 to 100, higher first
        tags: all its tags, at most 20 texts of 1 to 64 letters, digits and . _ : @ / + = -
        run_at: when to run it, an RFC 3339 time with a zone, or "now"
        start_by: until when it may be sent, an RFC 3339 time with a zone, or "none":
        whenever that is.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(
                Request(
                    "PATCH",
                    path("/v1/jobs/{id}", id=id),
                    body={
                        "note": note,
                        "priority": priority,
                        "tags": tags,
                        "run_at": run_at,
                        "start_by": start_by,
                    },
                )
            ),
        )
        return answer

    def explain_job(self, id: str) -> models.Why:
        """What keeps a job from running.

        Needs a token of the role `watch` or above.
        """
        answer: models.Why = decode(
            models.Why,
            self._send(Request("GET", path("/v1/jobs/{id}/why", id=id), is_repeatable=True)),
        )
        return answer

    def wait_for_job(self, id: str, *, timeout_s: float | None = None) -> models.Job:
        """A job, as soon as it is settled or parked, or when the time is up.

        Needs a token of the role `watch` or above, or one with `own`.

        timeout_s: seconds from 0 to 120.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(
                Request(
                    "GET",
                    path("/v1/jobs/{id}/wait", id=id),
                    query={"timeout_s": timeout_s},
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def cancel_job(self, id: str, *, note: str | None = None) -> models.Job:
        """Cancel a job.

        Cancels it at once, or asks the provider to cancel its run, which may still be
        charged. Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(Request("POST", path("/v1/jobs/{id}/cancel", id=id), body={"note": note})),
        )
        return answer

    def park_job(self, id: str, *, note: str | None = None) -> models.Job:
        """Park a job.

        Nothing is sent until an operator releases it. Needs a token of the role `operate`
        or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(Request("POST", path("/v1/jobs/{id}/park", id=id), body={"note": note})),
        )
        return answer

    def release_job(
        self, id: str, *, note: str | None = None, inputs: dict[str, Any] | None = None
    ) -> models.Job:
        """Release a parked job, with other inputs where given.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        inputs: a JSON object that replaces the inputs; not for a job whose run the provider
        may have.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(
                Request(
                    "POST",
                    path("/v1/jobs/{id}/release", id=id),
                    body={"note": note, "inputs": inputs},
                )
            ),
        )
        return answer

    def requeue_job(
        self, id: str, *, note: str | None = None, inputs: dict[str, Any] | None = None
    ) -> models.Job:
        """Requeue a dead letter, with other inputs where given.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        inputs: a JSON object that replaces the inputs.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(
                Request(
                    "POST",
                    path("/v1/jobs/{id}/requeue", id=id),
                    body={"note": note, "inputs": inputs},
                )
            ),
        )
        return answer

    def discard_job(self, id: str, *, note: str | None = None) -> models.Job:
        """Discard a job.

        Gives it up: it ends as cancelled and stays on record until retention removes it.
        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(Request("POST", path("/v1/jobs/{id}/discard", id=id), body={"note": note})),
        )
        return answer

    def resolve_job(
        self,
        id: str,
        *,
        note: str | None = None,
        execution_id: str | None = None,
        outcome: Literal["resubmit", "discard"] | str | None = None,
    ) -> models.Job:
        """Resolve an uncertain job: attach its run, submit it again, or discard it.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        execution_id: the id of the execution at the provider
        outcome: "resubmit", which may be paid twice, or "discard".
        """
        answer: models.Job = decode(
            models.Job,
            self._send(
                Request(
                    "POST",
                    path("/v1/jobs/{id}/resolve", id=id),
                    body={"note": note, "execution_id": execution_id, "outcome": outcome},
                )
            ),
        )
        return answer

    def erase_job_payloads(
        self, id: str, *, note: str | None = None, force: bool | None = None
    ) -> models.Job:
        """Erase the inputs and the result of a settled job for good; its record stays.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        force: true to erase those of a dead or parked job, too: it cannot run then.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(
                Request(
                    "DELETE",
                    path("/v1/jobs/{id}/payloads", id=id),
                    body={"note": note, "force": force},
                )
            ),
        )
        return answer

    def release_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
    ) -> models.BulkAction:
        """Release every job that matches a filter.

        Of each job: returns it to the queue; a stuck run is watched for another deadline.
        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            self._send(
                Request(
                    "POST",
                    "/v1/bulk/release",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                    },
                )
            ),
        )
        return answer

    def requeue_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
        patch_inputs: dict[str, Any] | None = None,
    ) -> models.BulkAction:
        """Requeue every job that matches a filter.

        Of each job: returns it to the queue with a new set of attempts; its history is
        kept. Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first
        patch_inputs: a JSON object, a merge patch (RFC 7396) for the inputs of each job:
        null removes a field.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            self._send(
                Request(
                    "POST",
                    "/v1/bulk/requeue",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                        "patch_inputs": patch_inputs,
                    },
                )
            ),
        )
        return answer

    def discard_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
    ) -> models.BulkAction:
        """Discard every job that matches a filter.

        Of each job: gives it up: it ends as cancelled and stays on record until retention
        removes it. Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            self._send(
                Request(
                    "POST",
                    "/v1/bulk/discard",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                    },
                )
            ),
        )
        return answer

    def cancel_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
    ) -> models.BulkAction:
        """Cancel every job that matches a filter.

        Of each job: cancels it at once, or asks the provider to cancel its run, which may
        still be charged. Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            self._send(
                Request(
                    "POST",
                    "/v1/bulk/cancel",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                    },
                )
            ),
        )
        return answer

    def resubmit_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
    ) -> models.BulkAction:
        """Resubmit every job that matches a filter.

        Of each job: sends it again; if the first run exists, it is paid twice. Needs a
        token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            self._send(
                Request(
                    "POST",
                    "/v1/bulk/resubmit",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                    },
                )
            ),
        )
        return answer

    def list_groups(
        self, *, state: Literal["parked", "dead"] | str | None = None
    ) -> models.GroupPage:
        """Parked jobs or dead letters by code and lane.

        Needs a token of the role `watch` or above, without a tenant.

        state: parked or dead.
        """
        answer: models.GroupPage = decode(
            models.GroupPage,
            self._send(Request("GET", "/v1/groups", query={"state": state}, is_repeatable=True)),
        )
        return answer

    def list_holds(self) -> models.HoldPage:
        """Every hold.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.HoldPage = decode(
            models.HoldPage, self._send(Request("GET", "/v1/holds", is_repeatable=True))
        )
        return answer

    def set_hold(self, *, scope: str, note: str | None = None) -> models.Hold:
        """Pause a scope. 201 for a new hold, 200 where the scope is paused already.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log
        scope: default, default/model or default/model/gpt-image-2.
        """
        answer: models.Hold = decode(
            models.Hold,
            self._send(Request("POST", "/v1/holds", body={"note": note, "scope": scope})),
        )
        return answer

    def release_hold(self, id: str, *, note: str | None = None) -> models.ReleasedHold:
        """Release a hold, and return the jobs it parked to the queue.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.ReleasedHold = decode(
            models.ReleasedHold,
            self._send(Request("POST", path("/v1/holds/{id}/release", id=id), body={"note": note})),
        )
        return answer

    def list_breakers(self) -> models.BreakerPage:
        """Every breaker that is open or probing, or that counts failures.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.BreakerPage = decode(
            models.BreakerPage, self._send(Request("GET", "/v1/breakers", is_repeatable=True))
        )
        return answer

    def probe_breaker(self, id: str, *, note: str | None = None) -> models.Breaker:
        """Probe a breaker.

        Makes the next probe now, and jobs due whose next try waits for a success of their
        lane. Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Breaker = decode(
            models.Breaker,
            self._send(
                Request("POST", path("/v1/breakers/{id}/probe", id=id), body={"note": note})
            ),
        )
        return answer

    def reset_breaker(self, id: str, *, note: str | None = None) -> models.Breaker:
        """Reset a breaker.

        Closes the breaker: submits go again at once, and its pauses start over. Needs a
        token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Breaker = decode(
            models.Breaker,
            self._send(
                Request("POST", path("/v1/breakers/{id}/reset", id=id), body={"note": note})
            ),
        )
        return answer

    def drain_worker(self, id: str, *, note: str | None = None) -> models.Worker:
        """Drain a worker: it takes no new jobs from now on, and finishes what it has.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Worker = decode(
            models.Worker,
            self._send(Request("POST", path("/v1/workers/{id}/drain", id=id), body={"note": note})),
        )
        return answer

    def undo_worker_drain(self, id: str, *, note: str | None = None) -> models.Worker:
        """Undo a drain: the worker takes new jobs again, at once.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Worker = decode(
            models.Worker,
            self._send(
                Request("DELETE", path("/v1/workers/{id}/drain", id=id), body={"note": note})
            ),
        )
        return answer

    def turn_on_reconcile(self, account: str, *, note: str | None = None) -> models.ReconcileOn:
        """Trust missing rows of an account again, after a late row switched `reconcile` off.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.ReconcileOn = decode(
            models.ReconcileOn,
            self._send(
                Request(
                    "POST",
                    path("/v1/accounts/{account}/reconcile-on", account=account),
                    body={"note": note},
                )
            ),
        )
        return answer

    def get_stats(self) -> models.Stats:
        """Counts of jobs, lanes, rate limits, workers and holds.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.Stats = decode(
            models.Stats, self._send(Request("GET", "/v1/stats", is_repeatable=True))
        )
        return answer

    def get_history(self, *, window: models.SeriesWindow | None = None) -> models.History:
        """What happened over time, in steps of 10 s, 1 min or 5 min.

        Needs a token of the role `watch` or above, without a tenant.

        window: 5m, 1h or 24h.
        """
        answer: models.History = decode(
            models.History,
            self._send(
                Request("GET", "/v1/stats/history", query={"window": window}, is_repeatable=True)
            ),
        )
        return answer

    def get_metrics(self) -> str:
        """Metrics of all processes for Prometheus. Without Redis: only that it is away.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: str = self._send(Request("GET", "/metrics", is_repeatable=True))
        return answer

    def list_audit_entries(
        self,
        *,
        by: str | None = None,
        act: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.AuditPage:
        """Actions of operators, newest first.

        Needs a token of the role `read` or above, without a tenant.

        by: the name of the operator's token
        act: an action, as release or bulk_requeue
        since: at or after: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z
        until: before: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z
        limit: a whole number from 1 to 500
        cursor: the next_cursor of the previous page.
        """
        answer: models.AuditPage = decode(
            models.AuditPage,
            self._send(
                Request(
                    "GET",
                    "/v1/audit",
                    query={
                        "by": by,
                        "act": act,
                        "since": since,
                        "until": until,
                        "limit": limit,
                        "cursor": cursor,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def get_credits(
        self,
        *,
        by: models.CreditsBy | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> models.Credits:
        """What runs cost: by day, account, target, tag or batch.

        Needs a token of the role `read` or above, without a tenant.

        by: day, account, target, tag or batch
        since: the first day, as 2026-11-01; by default 29 days before `until`
        until: the last day, as 2026-11-30; by default today.
        """
        answer: models.Credits = decode(
            models.Credits,
            self._send(
                Request(
                    "GET",
                    "/v1/credits",
                    query={"by": by, "since": since, "until": until},
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def export_credits(
        self,
        *,
        by: models.CreditsBy | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> str:
        """What runs cost, as CSV: a head line, then the rows; without the total.

        Needs a token of the role `read` or above, without a tenant.

        by: day, account, target, tag or batch
        since: the first day, as 2026-11-01; by default 29 days before `until`
        until: the last day, as 2026-11-30; by default today.
        """
        answer: str = self._send(
            Request(
                "GET",
                "/v1/credits.csv",
                query={"by": by, "since": since, "until": until},
                is_repeatable=True,
            )
        )
        return answer

    def forecast_credits(self) -> models.ForecastPage:
        """What queued jobs will cost, and when an account or a budget is used up at this pace.

        Needs a token of the role `read` or above, without a tenant.
        """
        answer: models.ForecastPage = decode(
            models.ForecastPage,
            self._send(Request("GET", "/v1/credits/forecast", is_repeatable=True)),
        )
        return answer

    def set_balance(
        self, *, credits: float, note: str | None = None, account: str | None = None
    ) -> models.Forecast:
        """Enter what the provider's billing page shows; the ledger carries it on from now.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log
        account: an account label
        credits: a number from 0 to 1e9.
        """
        answer: models.Forecast = decode(
            models.Forecast,
            self._send(
                Request(
                    "POST",
                    "/v1/credits/balance",
                    body={"note": note, "account": account, "credits": credits},
                )
            ),
        )
        return answer

    def list_budgets(self) -> models.BudgetPage:
        """Every budget, with what is used of it.

        Needs a token of the role `read` or above, without a tenant.
        """
        answer: models.BudgetPage = decode(
            models.BudgetPage, self._send(Request("GET", "/v1/budgets", is_repeatable=True))
        )
        return answer

    def get_budget(self, name: str) -> models.Budget:
        """A budget, with what is used of it.

        Needs a token of the role `read` or above, without a tenant.
        """
        answer: models.Budget = decode(
            models.Budget,
            self._send(Request("GET", path("/v1/budgets/{name}", name=name), is_repeatable=True)),
        )
        return answer

    def set_budget(
        self,
        name: str,
        *,
        scope: str,
        period: models.BudgetPeriod,
        limit: float,
        note: str | None = None,
        time_zone: str | None = None,
    ) -> models.Budget:
        """Set a budget: what its scope may cost in a period.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log
        scope: an account, account/kind, account/kind/target, tag:NAME or batch:NAME
        period: day, month or total
        limit: a number of credits more than 0 and at most 1,000,000,000
        time_zone: the name of a time zone, as Europe/Berlin: days and months begin at
        midnight there.
        """
        answer: models.Budget = decode(
            models.Budget,
            self._send(
                Request(
                    "PUT",
                    path("/v1/budgets/{name}", name=name),
                    body={
                        "note": note,
                        "scope": scope,
                        "period": period,
                        "limit": limit,
                        "time_zone": time_zone,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def remove_budget(self, name: str, *, note: str | None = None) -> models.Budget:
        """Remove a budget; it is returned as it was, and the jobs that wait for it go on.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Budget = decode(
            models.Budget,
            self._send(
                Request("DELETE", path("/v1/budgets/{name}", name=name), body={"note": note})
            ),
        )
        return answer

    def list_caps(self) -> models.CapPage:
        """Every concurrency cap, by scope: of the settings, and those that operators set.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.CapPage = decode(
            models.CapPage, self._send(Request("GET", "/v1/caps", is_repeatable=True))
        )
        return answer

    def get_cap(self, scope: str) -> models.Cap:
        """The concurrency cap of a scope.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.Cap = decode(
            models.Cap,
            self._send(Request("GET", path("/v1/caps/{scope}", scope=scope), is_repeatable=True)),
        )
        return answer

    def set_cap(self, scope: str, *, cap: int, note: str | None = None) -> models.Cap:
        """Set how many jobs each lane of a scope may have submitted or running at once.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log
        cap: a whole number from 1 to 1000000; to stop a scope, place a hold.
        """
        answer: models.Cap = decode(
            models.Cap,
            self._send(
                Request(
                    "PUT",
                    path("/v1/caps/{scope}", scope=scope),
                    body={"note": note, "cap": cap},
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def remove_cap(self, scope: str, *, note: str | None = None) -> models.RemovedCap:
        """Remove the cap that was set for a scope; what the settings say counts again.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.RemovedCap = decode(
            models.RemovedCap,
            self._send(
                Request("DELETE", path("/v1/caps/{scope}", scope=scope), body={"note": note})
            ),
        )
        return answer

    def list_schedules(self) -> models.SchedulePage:
        """Every schedule, with its next tick and its last run.

        Needs a token of the role `read` or above.
        """
        answer: models.SchedulePage = decode(
            models.SchedulePage, self._send(Request("GET", "/v1/schedules", is_repeatable=True))
        )
        return answer

    def get_schedule(self, name: str) -> models.Schedule:
        """A schedule: its next ticks, its last runs, and what keeps it from running.

        Needs a token of the role `read` or above.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            self._send(Request("GET", path("/v1/schedules/{name}", name=name), is_repeatable=True)),
        )
        return answer

    def set_schedule(
        self,
        name: str,
        *,
        cron: str,
        job: dict[str, Any],
        note: str | None = None,
        time_zone: str | None = None,
        overlap: models.Overlap | None = None,
        catch_up: models.CatchUp | None = None,
        enabled: bool | None = None,
    ) -> models.Schedule:
        """Set a schedule: a job that is enqueued at each tick of a cron line.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        cron: a cron line of five fields: minute, hour, day of month, month and day of week,
        as 0 3 * * *
        job: a job request, as of POST /v1/jobs, without id, run_at and delay_s
        time_zone: the name of a time zone, as Europe/Berlin: the line is in its local time
        overlap: "skip": a tick makes no job while an earlier one is not finished; parked
        ones do not count; or "enqueue"
        catch_up: "none", "last" or "all": which ticks make a job that no worker saw within
        60 s
        enabled: true, or false to enqueue nothing.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            self._send(
                Request(
                    "PUT",
                    path("/v1/schedules/{name}", name=name),
                    body={
                        "note": note,
                        "cron": cron,
                        "job": job,
                        "time_zone": time_zone,
                        "overlap": overlap,
                        "catch_up": catch_up,
                        "enabled": enabled,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def remove_schedule(self, name: str, *, note: str | None = None) -> models.Schedule:
        """Remove a schedule; it is returned as it was, and its jobs go on.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            self._send(
                Request("DELETE", path("/v1/schedules/{name}", name=name), body={"note": note})
            ),
        )
        return answer

    def enable_schedule(self, name: str, *, note: str | None = None) -> models.Schedule:
        """Let a schedule enqueue jobs, from now on.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            self._send(
                Request("POST", path("/v1/schedules/{name}/enable", name=name), body={"note": note})
            ),
        )
        return answer

    def disable_schedule(self, name: str, *, note: str | None = None) -> models.Schedule:
        """Let a schedule enqueue nothing until it is enabled.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            self._send(
                Request(
                    "POST", path("/v1/schedules/{name}/disable", name=name), body={"note": note}
                )
            ),
        )
        return answer

    def run_schedule(self, name: str, *, note: str | None = None) -> models.Job:
        """Enqueue the job of a schedule now, whether it is enabled and whatever runs.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Job = decode(
            models.Job,
            self._send(
                Request("POST", path("/v1/schedules/{name}/run", name=name), body={"note": note})
            ),
        )
        return answer

    def list_callbacks(
        self,
        *,
        state: models.CallbackState | None = None,
        host: str | None = None,
        job: str | None = None,
        batch: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.CallbackPage:
        """Callbacks, newest first: those to be sent, those that receivers took, and failed
        ones.

        Needs a token of the role `watch` or above, or one with `own`.

        state: one of pending, delivered, failed
        host: a host, as hooks.example.com or hooks.example.com:8443
        job: the id of a job
        batch: the name of a batch; cannot be given with job
        limit: a whole number from 1 to 500
        cursor: the next_cursor of the previous page.
        """
        answer: models.CallbackPage = decode(
            models.CallbackPage,
            self._send(
                Request(
                    "GET",
                    "/v1/callbacks",
                    query={
                        "state": state,
                        "host": host,
                        "job": job,
                        "batch": batch,
                        "limit": limit,
                        "cursor": cursor,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def get_callback(self, id: str) -> models.Callback:
        """A callback, with what became of its tries.

        Needs a token of the role `watch` or above, or one with `own`.
        """
        answer: models.Callback = decode(
            models.Callback,
            self._send(Request("GET", path("/v1/callbacks/{id}", id=id), is_repeatable=True)),
        )
        return answer

    def resend_callback(self, id: str, *, note: str | None = None) -> models.Callback:
        """Send a callback again, now, with the same id and body; it is tried for three more
        days.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Callback = decode(
            models.Callback,
            self._send(
                Request("POST", path("/v1/callbacks/{id}/resend", id=id), body={"note": note})
            ),
        )
        return answer

    def create_batch(
        self,
        *,
        name: str,
        note: str | None = None,
        metadata: dict[str, Any] | None = None,
        callback_url: str | None = None,
        budget: float | None = None,
    ) -> models.Batch | models.BatchCreated:
        """Create a batch. Jobs join it by `batch`, and stay on record until all have settled.

        Needs a token of the role `enqueue` or above, or one with `own`.

        note: a string of at most 1000 characters, kept in the audit log
        name: 1 to 128 letters, digits and . _ : @ / + = -
        metadata: a JSON object of at most 4 KiB that is shown with it
        callback_url: a URL of a host in KNOUDS_CALLBACK_HOSTS that hears when it is
        complete or stalled
        budget: credits that all its runs may cost, more than 0.
        """
        answer: models.Batch | models.BatchCreated = decode(
            models.Batch | models.BatchCreated,
            self._send(
                Request(
                    "POST",
                    "/v1/batches",
                    body={
                        "note": note,
                        "name": name,
                        "metadata": metadata,
                        "callback_url": callback_url,
                        "budget": budget,
                    },
                )
            ),
        )
        return answer

    def list_batches(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> models.BatchPage:
        """A page of batches, the most recently used first; also those that only jobs name.

        Needs a token of the role `watch` or above, or one with `own`.

        limit: a whole number from 1 to 100
        cursor: the next_cursor of the previous page.
        """
        answer: models.BatchPage = decode(
            models.BatchPage,
            self._send(
                Request(
                    "GET",
                    "/v1/batches",
                    query={"limit": limit, "cursor": cursor},
                    is_repeatable=True,
                )
            ),
        )
        return answer

    def get_batch(self, name: str) -> models.Batch:
        """A batch: how many of its jobs are in which state, what they cost, why some failed.

        Needs a token of the role `watch` or above, or one with `own`.
        """
        answer: models.Batch = decode(
            models.Batch,
            self._send(Request("GET", path("/v1/batches/{name}", name=name), is_repeatable=True)),
        )
        return answer

    def list_batch_results(
        self, name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> str:
        """Jobs of a batch that have settled, one JSON object a line, in the order they
        settled.

        Needs a token of the role `watch` or above, or one with `own`.

        limit: a whole number from 1 to 500
        cursor: the cursor of the last line that was read.
        """
        answer: str = self._send(
            Request(
                "GET",
                path("/v1/batches/{name}/results", name=name),
                query={"limit": limit, "cursor": cursor},
                is_repeatable=True,
            )
        )
        return answer

    def seal_batch(
        self, name: str, *, note: str | None = None
    ) -> models.Batch | models.BatchCreated:
        """Let no more jobs join a batch. It is complete once all of them have settled.

        Needs a token of the role `enqueue` or above, or one with `own`.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Batch | models.BatchCreated = decode(
            models.Batch | models.BatchCreated,
            self._send(
                Request("POST", path("/v1/batches/{name}/seal", name=name), body={"note": note})
            ),
        )
        return answer

    def cancel_batch(self, name: str, *, note: str | None = None) -> models.BatchAction:
        """Let no more jobs join a batch, and cancel those that have not settled; parked ones
        stay.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.BatchAction = decode(
            models.BatchAction,
            self._send(
                Request("POST", path("/v1/batches/{name}/cancel", name=name), body={"note": note})
            ),
        )
        return answer

    def requeue_failed_jobs(self, name: str, *, note: str | None = None) -> models.BatchAction:
        """Requeue every dead letter of a batch, with the inputs it has.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.BatchAction = decode(
            models.BatchAction,
            self._send(
                Request(
                    "POST",
                    path("/v1/batches/{name}/requeue-failed", name=name),
                    body={"note": note},
                )
            ),
        )
        return answer

    def list_sessions(self) -> models.SessionPage:
        """Every browser that is logged in.

        Needs a token of the role `operate` or above, without a tenant.
        """
        answer: models.SessionPage = decode(
            models.SessionPage, self._send(Request("GET", "/v1/sessions", is_repeatable=True))
        )
        return answer

    def revoke_session(self, id: str, *, note: str | None = None) -> models.Session:
        """End a session: its browser has to log in again.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Session = decode(
            models.Session,
            self._send(
                Request("POST", path("/v1/sessions/{id}/revoke", id=id), body={"note": note})
            ),
        )
        return answer

    def check_liveness(self) -> models.Liveness:
        """The process answers."""
        answer: models.Liveness = decode(
            models.Liveness, self._send(Request("GET", "/livez", is_repeatable=True))
        )
        return answer

    def check_readiness(self) -> models.Readiness:
        """Redis does what is needed. Workers and their troubles are only reported: jobs wait
        safely.
        """
        answer: models.Readiness = decode(
            models.Readiness, self._send(Request("GET", "/readyz", is_repeatable=True))
        )
        return answer

    def get_caller(self) -> models.Caller:
        """Who sends this request, and the operations that they may call.

        Needs a token of the role `enqueue` or above, or one with `own`.
        """
        answer: models.Caller = decode(
            models.Caller, self._send(Request("GET", "/v1/whoami", is_repeatable=True))
        )
        return answer


class AsyncCalls:
    """A coroutine for each operation. Each raises `ApiError` and `ConnectionFailed`."""

    async def _send(self, request: Request) -> Any:
        raise NotImplementedError

    async def enqueue_job(
        self,
        *,
        kind: models.Kind,
        target: str,
        inputs: dict[str, Any],
        id: str | None = None,
        priority: int | None = None,
        tags: list[str] | None = None,
        batch: str | None = None,
        fair_key: str | None = None,
        run_at: datetime | None = None,
        delay_s: float | None = None,
        start_by: datetime | None = None,
        max_attempts: int | None = None,
        deadline_s: float | None = None,
        on_uncertain: models.OnUncertain | None = None,
        callback_url: str | None = None,
        metadata: dict[str, str | bool | int | float] | None = None,
        after: list[str] | None = None,
        account: str | None = None,
    ) -> models.Job | models.EnqueuedJob:
        """Enqueue a job.

        Needs a token of the role `enqueue` or above.

        kind: "model" or "workflow"
        target: a model's internal name or a workflow's slug: lowercase letters, digits and
        hyphens, as gpt-image-2
        inputs: a JSON object, the inputs of the run
        id: 1 to 128 letters, digits and . _ : @ - that start with a letter or digit; the
        same id never makes a second job
        priority: a whole number from -100 to 100, higher first
        tags: at most 20 texts of 1 to 64 letters, digits and . _ : @ / + = -
        batch: 1 to 128 letters, digits and . _ : @ / + = -
        fair_key: 1 to 128 letters, digits and . _ : @ / + = -, a tenant or user: in a lane,
        keys take turns
        run_at: when to run it, within ten years: an RFC 3339 time with a zone, as
        2030-01-31T09:30:00Z
        delay_s: seconds from now, from 0 to ten years; run_at names a time instead
        start_by: it is cancelled unless it is sent by this time, within ten years: an RFC
        3339 time with a zone, as 2030-01-31T09:30:00Z
        max_attempts: a whole number from 1 to 100
        deadline_s: seconds above 0, at most 366 days, that a submitted run may take
        on_uncertain: "park", "reconcile", or "retry", which may pay for a run twice;
        KNOUDS_ON_UNCERTAIN if omitted
        callback_url: a URL of a host in KNOUDS_CALLBACK_HOSTS that hears how the job ends;
        KNOUDS_CALLBACK_URL if omitted
        metadata: a JSON object of at most 16 texts, numbers, true or false under names of 1
        to 64 characters, 1024 bytes of JSON in all; shown wherever the job is shown
        after: ids of at most 50 jobs that have to succeed first; inputs may take from their
        results: {"$result": "id", "pointer": "/images/0"}
        account: an account label: lowercase letters, digits, _ and -, at most 63, starting
        with a letter or digit.
        """
        answer: models.Job | models.EnqueuedJob = decode(
            models.Job | models.EnqueuedJob,
            await self._send(
                Request(
                    "POST",
                    "/v1/jobs",
                    body={
                        "kind": kind,
                        "target": target,
                        "inputs": inputs,
                        "id": id,
                        "priority": priority,
                        "tags": tags,
                        "batch": batch,
                        "fair_key": fair_key,
                        "run_at": run_at,
                        "delay_s": delay_s,
                        "start_by": start_by,
                        "max_attempts": max_attempts,
                        "deadline_s": deadline_s,
                        "on_uncertain": on_uncertain,
                        "callback_url": callback_url,
                        "metadata": metadata,
                        "after": after,
                        "account": account,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def list_jobs(
        self,
        *,
        state: models.State | None = None,
        kind: models.Kind | None = None,
        target: str | None = None,
        code: str | None = None,
        cause: str | None = None,
        tag: str | None = None,
        batch: str | None = None,
        fair_key: str | None = None,
        after: str | None = None,
        account: str | None = None,
        finding: models.EvidenceFinding | None = None,
        tenant: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.JobPage:
        """A page of jobs, newest first.

        Needs a token of the role `watch` or above, or one with `own`.

        state: one of scheduled, waiting, queued, submitting, running, retrying, parked,
        cancelling, succeeded, dead, cancelled
        kind: model or workflow
        target: a target, as gpt-image-2
        code: a reason's code, as uncertain
        cause: why the outcome of an uncertain job is unknown, as HTTP_502
        tag: one tag
        batch: one batch; one of a tenant, for others, as <tenant>~<batch>
        fair_key: one fair key; one of a tenant, for others, as <tenant>~<key>
        after: the id of a job that they were enqueued to wait for
        account: an account label
        finding: of jobs parked as uncertain, one of pending, not_started, started,
        ambiguous, unknown
        tenant: a tenant's name
        since: created at or after: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z
        until: created before: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z
        limit: a whole number from 1 to 500
        cursor: the next_cursor of the previous page.
        """
        answer: models.JobPage = decode(
            models.JobPage,
            await self._send(
                Request(
                    "GET",
                    "/v1/jobs",
                    query={
                        "state": state,
                        "kind": kind,
                        "target": target,
                        "code": code,
                        "cause": cause,
                        "tag": tag,
                        "batch": batch,
                        "fair_key": fair_key,
                        "after": after,
                        "account": account,
                        "finding": finding,
                        "tenant": tenant,
                        "since": since,
                        "until": until,
                        "limit": limit,
                        "cursor": cursor,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def enqueue_jobs(self, *, jobs: list[models.JobRequestBody]) -> models.BulkEnqueue:
        """Enqueue many jobs. Each is accepted or refused by itself.

        Needs a token of the role `enqueue` or above.

        jobs: an array of at most 1000 job requests.
        """
        answer: models.BulkEnqueue = decode(
            models.BulkEnqueue,
            await self._send(
                Request("POST", "/v1/jobs/bulk", body={"jobs": jobs}, is_repeatable=True)
            ),
        )
        return answer

    async def preview_job(
        self,
        *,
        kind: models.Kind,
        target: str,
        inputs: dict[str, Any],
        id: str | None = None,
        priority: int | None = None,
        tags: list[str] | None = None,
        batch: str | None = None,
        fair_key: str | None = None,
        run_at: datetime | None = None,
        delay_s: float | None = None,
        start_by: datetime | None = None,
        max_attempts: int | None = None,
        deadline_s: float | None = None,
        on_uncertain: models.OnUncertain | None = None,
        callback_url: str | None = None,
        metadata: dict[str, str | bool | int | float] | None = None,
        after: list[str] | None = None,
        account: str | None = None,
    ) -> models.RunPreview:
        """Answer what an enqueue would say of its run, and enqueue nothing.

        Needs a token of the role `enqueue` or above.

        kind: "model" or "workflow"
        target: a model's internal name or a workflow's slug: lowercase letters, digits and
        hyphens, as gpt-image-2
        inputs: a JSON object, the inputs of the run
        id: 1 to 128 letters, digits and . _ : @ - that start with a letter or digit; the
        same id never makes a second job
        priority: a whole number from -100 to 100, higher first
        tags: at most 20 texts of 1 to 64 letters, digits and . _ : @ / + = -
        batch: 1 to 128 letters, digits and . _ : @ / + = -
        fair_key: 1 to 128 letters, digits and . _ : @ / + = -, a tenant or user: in a lane,
        keys take turns
        run_at: when to run it, within ten years: an RFC 3339 time with a zone, as
        2030-01-31T09:30:00Z
        delay_s: seconds from now, from 0 to ten years; run_at names a time instead
        start_by: it is cancelled unless it is sent by this time, within ten years: an RFC
        3339 time with a zone, as 2030-01-31T09:30:00Z
        max_attempts: a whole number from 1 to 100
        deadline_s: seconds above 0, at most 366 days, that a submitted run may take
        on_uncertain: "park", "reconcile", or "retry", which may pay for a run twice;
        KNOUDS_ON_UNCERTAIN if omitted
        callback_url: a URL of a host in KNOUDS_CALLBACK_HOSTS that hears how the job ends;
        KNOUDS_CALLBACK_URL if omitted
        metadata: a JSON object of at most 16 texts, numbers, true or false under names of 1
        to 64 characters, 1024 bytes of JSON in all; shown wherever the job is shown
        after: ids of at most 50 jobs that have to succeed first; inputs may take from their
        results: {"$result": "id", "pointer": "/images/0"}
        account: an account label: lowercase letters, digits, _ and -, at most 63, starting
        with a letter or digit.
        """
        answer: models.RunPreview = decode(
            models.RunPreview,
            await self._send(
                Request(
                    "POST",
                    "/v1/jobs/dry-run",
                    body={
                        "kind": kind,
                        "target": target,
                        "inputs": inputs,
                        "id": id,
                        "priority": priority,
                        "tags": tags,
                        "batch": batch,
                        "fair_key": fair_key,
                        "run_at": run_at,
                        "delay_s": delay_s,
                        "start_by": start_by,
                        "max_attempts": max_attempts,
                        "deadline_s": deadline_s,
                        "on_uncertain": on_uncertain,
                        "callback_url": callback_url,
                        "metadata": metadata,
                        "after": after,
                        "account": account,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def get_job(self, id: str) -> models.Job:
        """A job with its inputs and result.

        Needs a token of the role `watch` or above, or one with `own`.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(Request("GET", path("/v1/jobs/{id}", id=id), is_repeatable=True)),
        )
        return answer

    async def edit_job(
        self,
        id: str,
        *,
        note: str | None = None,
        priority: int | None = None,
        tags: list[str] | None = None,
        run_at: str | None = None,
        start_by: str | None = None,
    ) -> models.Job:
        """Change priority, tags or times of a job that is not at the provider; absent fields
        stay.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        priority: a whole number from -100 to 100, higher first
        tags: all its tags, at most 20 texts of 1 to 64 letters, digits and . _ : @ / + = -
        run_at: when to run it, an RFC 3339 time with a zone, or "now"
        start_by: until when it may be sent, an RFC 3339 time with a zone, or "none":
        whenever that is.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request(
                    "PATCH",
                    path("/v1/jobs/{id}", id=id),
                    body={
                        "note": note,
                        "priority": priority,
                        "tags": tags,
                        "run_at": run_at,
                        "start_by": start_by,
                    },
                )
            ),
        )
        return answer

    async def explain_job(self, id: str) -> models.Why:
        """What keeps a job from running.

        Needs a token of the role `watch` or above.
        """
        answer: models.Why = decode(
            models.Why,
            await self._send(Request("GET", path("/v1/jobs/{id}/why", id=id), is_repeatable=True)),
        )
        return answer

    async def wait_for_job(self, id: str, *, timeout_s: float | None = None) -> models.Job:
        """A job, as soon as it is settled or parked, or when the time is up.

        Needs a token of the role `watch` or above, or one with `own`.

        timeout_s: seconds from 0 to 120.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request(
                    "GET",
                    path("/v1/jobs/{id}/wait", id=id),
                    query={"timeout_s": timeout_s},
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def cancel_job(self, id: str, *, note: str | None = None) -> models.Job:
        """Cancel a job.

        Cancels it at once, or asks the provider to cancel its run, which may still be
        charged. Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request("POST", path("/v1/jobs/{id}/cancel", id=id), body={"note": note})
            ),
        )
        return answer

    async def park_job(self, id: str, *, note: str | None = None) -> models.Job:
        """Park a job.

        Nothing is sent until an operator releases it. Needs a token of the role `operate`
        or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request("POST", path("/v1/jobs/{id}/park", id=id), body={"note": note})
            ),
        )
        return answer

    async def release_job(
        self, id: str, *, note: str | None = None, inputs: dict[str, Any] | None = None
    ) -> models.Job:
        """Release a parked job, with other inputs where given.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        inputs: a JSON object that replaces the inputs; not for a job whose run the provider
        may have.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request(
                    "POST",
                    path("/v1/jobs/{id}/release", id=id),
                    body={"note": note, "inputs": inputs},
                )
            ),
        )
        return answer

    async def requeue_job(
        self, id: str, *, note: str | None = None, inputs: dict[str, Any] | None = None
    ) -> models.Job:
        """Requeue a dead letter, with other inputs where given.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        inputs: a JSON object that replaces the inputs.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request(
                    "POST",
                    path("/v1/jobs/{id}/requeue", id=id),
                    body={"note": note, "inputs": inputs},
                )
            ),
        )
        return answer

    async def discard_job(self, id: str, *, note: str | None = None) -> models.Job:
        """Discard a job.

        Gives it up: it ends as cancelled and stays on record until retention removes it.
        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request("POST", path("/v1/jobs/{id}/discard", id=id), body={"note": note})
            ),
        )
        return answer

    async def resolve_job(
        self,
        id: str,
        *,
        note: str | None = None,
        execution_id: str | None = None,
        outcome: Literal["resubmit", "discard"] | str | None = None,
    ) -> models.Job:
        """Resolve an uncertain job: attach its run, submit it again, or discard it.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        execution_id: the id of the execution at the provider
        outcome: "resubmit", which may be paid twice, or "discard".
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request(
                    "POST",
                    path("/v1/jobs/{id}/resolve", id=id),
                    body={"note": note, "execution_id": execution_id, "outcome": outcome},
                )
            ),
        )
        return answer

    async def erase_job_payloads(
        self, id: str, *, note: str | None = None, force: bool | None = None
    ) -> models.Job:
        """Erase the inputs and the result of a settled job for good; its record stays.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        force: true to erase those of a dead or parked job, too: it cannot run then.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request(
                    "DELETE",
                    path("/v1/jobs/{id}/payloads", id=id),
                    body={"note": note, "force": force},
                )
            ),
        )
        return answer

    async def release_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
    ) -> models.BulkAction:
        """Release every job that matches a filter.

        Of each job: returns it to the queue; a stuck run is watched for another deadline.
        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            await self._send(
                Request(
                    "POST",
                    "/v1/bulk/release",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                    },
                )
            ),
        )
        return answer

    async def requeue_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
        patch_inputs: dict[str, Any] | None = None,
    ) -> models.BulkAction:
        """Requeue every job that matches a filter.

        Of each job: returns it to the queue with a new set of attempts; its history is
        kept. Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first
        patch_inputs: a JSON object, a merge patch (RFC 7396) for the inputs of each job:
        null removes a field.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            await self._send(
                Request(
                    "POST",
                    "/v1/bulk/requeue",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                        "patch_inputs": patch_inputs,
                    },
                )
            ),
        )
        return answer

    async def discard_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
    ) -> models.BulkAction:
        """Discard every job that matches a filter.

        Of each job: gives it up: it ends as cancelled and stays on record until retention
        removes it. Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            await self._send(
                Request(
                    "POST",
                    "/v1/bulk/discard",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                    },
                )
            ),
        )
        return answer

    async def cancel_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
    ) -> models.BulkAction:
        """Cancel every job that matches a filter.

        Of each job: cancels it at once, or asks the provider to cancel its run, which may
        still be charged. Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            await self._send(
                Request(
                    "POST",
                    "/v1/bulk/cancel",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                    },
                )
            ),
        )
        return answer

    async def resubmit_jobs(
        self,
        *,
        filter: models.JobFilter,
        note: str | None = None,
        dry_run: bool | None = None,
        list_ids: bool | None = None,
        limit: int | None = None,
    ) -> models.BulkAction:
        """Resubmit every job that matches a filter.

        Of each job: sends it again; if the first run exists, it is paid twice. Needs a
        token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        filter: an object with the fields of GET /v1/jobs, ids, or {"all": true}
        dry_run: true to count only, or false
        list_ids: true to list the jobs of a dry run by id, or false
        limit: a whole number from 1 to 100000: act on so many jobs, the newest first.
        """
        answer: models.BulkAction = decode(
            models.BulkAction,
            await self._send(
                Request(
                    "POST",
                    "/v1/bulk/resubmit",
                    body={
                        "note": note,
                        "filter": filter,
                        "dry_run": dry_run,
                        "list_ids": list_ids,
                        "limit": limit,
                    },
                )
            ),
        )
        return answer

    async def list_groups(
        self, *, state: Literal["parked", "dead"] | str | None = None
    ) -> models.GroupPage:
        """Parked jobs or dead letters by code and lane.

        Needs a token of the role `watch` or above, without a tenant.

        state: parked or dead.
        """
        answer: models.GroupPage = decode(
            models.GroupPage,
            await self._send(
                Request("GET", "/v1/groups", query={"state": state}, is_repeatable=True)
            ),
        )
        return answer

    async def list_holds(self) -> models.HoldPage:
        """Every hold.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.HoldPage = decode(
            models.HoldPage, await self._send(Request("GET", "/v1/holds", is_repeatable=True))
        )
        return answer

    async def set_hold(self, *, scope: str, note: str | None = None) -> models.Hold:
        """Pause a scope. 201 for a new hold, 200 where the scope is paused already.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log
        scope: default, default/model or default/model/gpt-image-2.
        """
        answer: models.Hold = decode(
            models.Hold,
            await self._send(Request("POST", "/v1/holds", body={"note": note, "scope": scope})),
        )
        return answer

    async def release_hold(self, id: str, *, note: str | None = None) -> models.ReleasedHold:
        """Release a hold, and return the jobs it parked to the queue.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.ReleasedHold = decode(
            models.ReleasedHold,
            await self._send(
                Request("POST", path("/v1/holds/{id}/release", id=id), body={"note": note})
            ),
        )
        return answer

    async def list_breakers(self) -> models.BreakerPage:
        """Every breaker that is open or probing, or that counts failures.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.BreakerPage = decode(
            models.BreakerPage, await self._send(Request("GET", "/v1/breakers", is_repeatable=True))
        )
        return answer

    async def probe_breaker(self, id: str, *, note: str | None = None) -> models.Breaker:
        """Probe a breaker.

        Makes the next probe now, and jobs due whose next try waits for a success of their
        lane. Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Breaker = decode(
            models.Breaker,
            await self._send(
                Request("POST", path("/v1/breakers/{id}/probe", id=id), body={"note": note})
            ),
        )
        return answer

    async def reset_breaker(self, id: str, *, note: str | None = None) -> models.Breaker:
        """Reset a breaker.

        Closes the breaker: submits go again at once, and its pauses start over. Needs a
        token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Breaker = decode(
            models.Breaker,
            await self._send(
                Request("POST", path("/v1/breakers/{id}/reset", id=id), body={"note": note})
            ),
        )
        return answer

    async def drain_worker(self, id: str, *, note: str | None = None) -> models.Worker:
        """Drain a worker: it takes no new jobs from now on, and finishes what it has.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Worker = decode(
            models.Worker,
            await self._send(
                Request("POST", path("/v1/workers/{id}/drain", id=id), body={"note": note})
            ),
        )
        return answer

    async def undo_worker_drain(self, id: str, *, note: str | None = None) -> models.Worker:
        """Undo a drain: the worker takes new jobs again, at once.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Worker = decode(
            models.Worker,
            await self._send(
                Request("DELETE", path("/v1/workers/{id}/drain", id=id), body={"note": note})
            ),
        )
        return answer

    async def turn_on_reconcile(
        self, account: str, *, note: str | None = None
    ) -> models.ReconcileOn:
        """Trust missing rows of an account again, after a late row switched `reconcile` off.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.ReconcileOn = decode(
            models.ReconcileOn,
            await self._send(
                Request(
                    "POST",
                    path("/v1/accounts/{account}/reconcile-on", account=account),
                    body={"note": note},
                )
            ),
        )
        return answer

    async def get_stats(self) -> models.Stats:
        """Counts of jobs, lanes, rate limits, workers and holds.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.Stats = decode(
            models.Stats, await self._send(Request("GET", "/v1/stats", is_repeatable=True))
        )
        return answer

    async def get_history(self, *, window: models.SeriesWindow | None = None) -> models.History:
        """What happened over time, in steps of 10 s, 1 min or 5 min.

        Needs a token of the role `watch` or above, without a tenant.

        window: 5m, 1h or 24h.
        """
        answer: models.History = decode(
            models.History,
            await self._send(
                Request("GET", "/v1/stats/history", query={"window": window}, is_repeatable=True)
            ),
        )
        return answer

    async def get_metrics(self) -> str:
        """Metrics of all processes for Prometheus. Without Redis: only that it is away.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: str = await self._send(Request("GET", "/metrics", is_repeatable=True))
        return answer

    async def list_audit_entries(
        self,
        *,
        by: str | None = None,
        act: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.AuditPage:
        """Actions of operators, newest first.

        Needs a token of the role `read` or above, without a tenant.

        by: the name of the operator's token
        act: an action, as release or bulk_requeue
        since: at or after: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z
        until: before: an RFC 3339 time with a zone, as 2030-01-31T09:30:00Z
        limit: a whole number from 1 to 500
        cursor: the next_cursor of the previous page.
        """
        answer: models.AuditPage = decode(
            models.AuditPage,
            await self._send(
                Request(
                    "GET",
                    "/v1/audit",
                    query={
                        "by": by,
                        "act": act,
                        "since": since,
                        "until": until,
                        "limit": limit,
                        "cursor": cursor,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def get_credits(
        self,
        *,
        by: models.CreditsBy | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> models.Credits:
        """What runs cost: by day, account, target, tag or batch.

        Needs a token of the role `read` or above, without a tenant.

        by: day, account, target, tag or batch
        since: the first day, as 2026-11-01; by default 29 days before `until`
        until: the last day, as 2026-11-30; by default today.
        """
        answer: models.Credits = decode(
            models.Credits,
            await self._send(
                Request(
                    "GET",
                    "/v1/credits",
                    query={"by": by, "since": since, "until": until},
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def export_credits(
        self,
        *,
        by: models.CreditsBy | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> str:
        """What runs cost, as CSV: a head line, then the rows; without the total.

        Needs a token of the role `read` or above, without a tenant.

        by: day, account, target, tag or batch
        since: the first day, as 2026-11-01; by default 29 days before `until`
        until: the last day, as 2026-11-30; by default today.
        """
        answer: str = await self._send(
            Request(
                "GET",
                "/v1/credits.csv",
                query={"by": by, "since": since, "until": until},
                is_repeatable=True,
            )
        )
        return answer

    async def forecast_credits(self) -> models.ForecastPage:
        """What queued jobs will cost, and when an account or a budget is used up at this pace.

        Needs a token of the role `read` or above, without a tenant.
        """
        answer: models.ForecastPage = decode(
            models.ForecastPage,
            await self._send(Request("GET", "/v1/credits/forecast", is_repeatable=True)),
        )
        return answer

    async def set_balance(
        self, *, credits: float, note: str | None = None, account: str | None = None
    ) -> models.Forecast:
        """Enter what the provider's billing page shows; the ledger carries it on from now.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log
        account: an account label
        credits: a number from 0 to 1e9.
        """
        answer: models.Forecast = decode(
            models.Forecast,
            await self._send(
                Request(
                    "POST",
                    "/v1/credits/balance",
                    body={"note": note, "account": account, "credits": credits},
                )
            ),
        )
        return answer

    async def list_budgets(self) -> models.BudgetPage:
        """Every budget, with what is used of it.

        Needs a token of the role `read` or above, without a tenant.
        """
        answer: models.BudgetPage = decode(
            models.BudgetPage, await self._send(Request("GET", "/v1/budgets", is_repeatable=True))
        )
        return answer

    async def get_budget(self, name: str) -> models.Budget:
        """A budget, with what is used of it.

        Needs a token of the role `read` or above, without a tenant.
        """
        answer: models.Budget = decode(
            models.Budget,
            await self._send(
                Request("GET", path("/v1/budgets/{name}", name=name), is_repeatable=True)
            ),
        )
        return answer

    async def set_budget(
        self,
        name: str,
        *,
        scope: str,
        period: models.BudgetPeriod,
        limit: float,
        note: str | None = None,
        time_zone: str | None = None,
    ) -> models.Budget:
        """Set a budget: what its scope may cost in a period.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log
        scope: an account, account/kind, account/kind/target, tag:NAME or batch:NAME
        period: day, month or total
        limit: a number of credits more than 0 and at most 1,000,000,000
        time_zone: the name of a time zone, as Europe/Berlin: days and months begin at
        midnight there.
        """
        answer: models.Budget = decode(
            models.Budget,
            await self._send(
                Request(
                    "PUT",
                    path("/v1/budgets/{name}", name=name),
                    body={
                        "note": note,
                        "scope": scope,
                        "period": period,
                        "limit": limit,
                        "time_zone": time_zone,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def remove_budget(self, name: str, *, note: str | None = None) -> models.Budget:
        """Remove a budget; it is returned as it was, and the jobs that wait for it go on.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Budget = decode(
            models.Budget,
            await self._send(
                Request("DELETE", path("/v1/budgets/{name}", name=name), body={"note": note})
            ),
        )
        return answer

    async def list_caps(self) -> models.CapPage:
        """Every concurrency cap, by scope: of the settings, and those that operators set.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.CapPage = decode(
            models.CapPage, await self._send(Request("GET", "/v1/caps", is_repeatable=True))
        )
        return answer

    async def get_cap(self, scope: str) -> models.Cap:
        """The concurrency cap of a scope.

        Needs a token of the role `watch` or above, without a tenant.
        """
        answer: models.Cap = decode(
            models.Cap,
            await self._send(
                Request("GET", path("/v1/caps/{scope}", scope=scope), is_repeatable=True)
            ),
        )
        return answer

    async def set_cap(self, scope: str, *, cap: int, note: str | None = None) -> models.Cap:
        """Set how many jobs each lane of a scope may have submitted or running at once.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log
        cap: a whole number from 1 to 1000000; to stop a scope, place a hold.
        """
        answer: models.Cap = decode(
            models.Cap,
            await self._send(
                Request(
                    "PUT",
                    path("/v1/caps/{scope}", scope=scope),
                    body={"note": note, "cap": cap},
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def remove_cap(self, scope: str, *, note: str | None = None) -> models.RemovedCap:
        """Remove the cap that was set for a scope; what the settings say counts again.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.RemovedCap = decode(
            models.RemovedCap,
            await self._send(
                Request("DELETE", path("/v1/caps/{scope}", scope=scope), body={"note": note})
            ),
        )
        return answer

    async def list_schedules(self) -> models.SchedulePage:
        """Every schedule, with its next tick and its last run.

        Needs a token of the role `read` or above.
        """
        answer: models.SchedulePage = decode(
            models.SchedulePage,
            await self._send(Request("GET", "/v1/schedules", is_repeatable=True)),
        )
        return answer

    async def get_schedule(self, name: str) -> models.Schedule:
        """A schedule: its next ticks, its last runs, and what keeps it from running.

        Needs a token of the role `read` or above.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            await self._send(
                Request("GET", path("/v1/schedules/{name}", name=name), is_repeatable=True)
            ),
        )
        return answer

    async def set_schedule(
        self,
        name: str,
        *,
        cron: str,
        job: dict[str, Any],
        note: str | None = None,
        time_zone: str | None = None,
        overlap: models.Overlap | None = None,
        catch_up: models.CatchUp | None = None,
        enabled: bool | None = None,
    ) -> models.Schedule:
        """Set a schedule: a job that is enqueued at each tick of a cron line.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log
        cron: a cron line of five fields: minute, hour, day of month, month and day of week,
        as 0 3 * * *
        job: a job request, as of POST /v1/jobs, without id, run_at and delay_s
        time_zone: the name of a time zone, as Europe/Berlin: the line is in its local time
        overlap: "skip": a tick makes no job while an earlier one is not finished; parked
        ones do not count; or "enqueue"
        catch_up: "none", "last" or "all": which ticks make a job that no worker saw within
        60 s
        enabled: true, or false to enqueue nothing.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            await self._send(
                Request(
                    "PUT",
                    path("/v1/schedules/{name}", name=name),
                    body={
                        "note": note,
                        "cron": cron,
                        "job": job,
                        "time_zone": time_zone,
                        "overlap": overlap,
                        "catch_up": catch_up,
                        "enabled": enabled,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def remove_schedule(self, name: str, *, note: str | None = None) -> models.Schedule:
        """Remove a schedule; it is returned as it was, and its jobs go on.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            await self._send(
                Request("DELETE", path("/v1/schedules/{name}", name=name), body={"note": note})
            ),
        )
        return answer

    async def enable_schedule(self, name: str, *, note: str | None = None) -> models.Schedule:
        """Let a schedule enqueue jobs, from now on.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            await self._send(
                Request("POST", path("/v1/schedules/{name}/enable", name=name), body={"note": note})
            ),
        )
        return answer

    async def disable_schedule(self, name: str, *, note: str | None = None) -> models.Schedule:
        """Let a schedule enqueue nothing until it is enabled.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Schedule = decode(
            models.Schedule,
            await self._send(
                Request(
                    "POST", path("/v1/schedules/{name}/disable", name=name), body={"note": note}
                )
            ),
        )
        return answer

    async def run_schedule(self, name: str, *, note: str | None = None) -> models.Job:
        """Enqueue the job of a schedule now, whether it is enabled and whatever runs.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Job = decode(
            models.Job,
            await self._send(
                Request("POST", path("/v1/schedules/{name}/run", name=name), body={"note": note})
            ),
        )
        return answer

    async def list_callbacks(
        self,
        *,
        state: models.CallbackState | None = None,
        host: str | None = None,
        job: str | None = None,
        batch: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.CallbackPage:
        """Callbacks, newest first: those to be sent, those that receivers took, and failed
        ones.

        Needs a token of the role `watch` or above, or one with `own`.

        state: one of pending, delivered, failed
        host: a host, as hooks.example.com or hooks.example.com:8443
        job: the id of a job
        batch: the name of a batch; cannot be given with job
        limit: a whole number from 1 to 500
        cursor: the next_cursor of the previous page.
        """
        answer: models.CallbackPage = decode(
            models.CallbackPage,
            await self._send(
                Request(
                    "GET",
                    "/v1/callbacks",
                    query={
                        "state": state,
                        "host": host,
                        "job": job,
                        "batch": batch,
                        "limit": limit,
                        "cursor": cursor,
                    },
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def get_callback(self, id: str) -> models.Callback:
        """A callback, with what became of its tries.

        Needs a token of the role `watch` or above, or one with `own`.
        """
        answer: models.Callback = decode(
            models.Callback,
            await self._send(Request("GET", path("/v1/callbacks/{id}", id=id), is_repeatable=True)),
        )
        return answer

    async def resend_callback(self, id: str, *, note: str | None = None) -> models.Callback:
        """Send a callback again, now, with the same id and body; it is tried for three more
        days.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Callback = decode(
            models.Callback,
            await self._send(
                Request("POST", path("/v1/callbacks/{id}/resend", id=id), body={"note": note})
            ),
        )
        return answer

    async def create_batch(
        self,
        *,
        name: str,
        note: str | None = None,
        metadata: dict[str, Any] | None = None,
        callback_url: str | None = None,
        budget: float | None = None,
    ) -> models.Batch | models.BatchCreated:
        """Create a batch. Jobs join it by `batch`, and stay on record until all have settled.

        Needs a token of the role `enqueue` or above, or one with `own`.

        note: a string of at most 1000 characters, kept in the audit log
        name: 1 to 128 letters, digits and . _ : @ / + = -
        metadata: a JSON object of at most 4 KiB that is shown with it
        callback_url: a URL of a host in KNOUDS_CALLBACK_HOSTS that hears when it is
        complete or stalled
        budget: credits that all its runs may cost, more than 0.
        """
        answer: models.Batch | models.BatchCreated = decode(
            models.Batch | models.BatchCreated,
            await self._send(
                Request(
                    "POST",
                    "/v1/batches",
                    body={
                        "note": note,
                        "name": name,
                        "metadata": metadata,
                        "callback_url": callback_url,
                        "budget": budget,
                    },
                )
            ),
        )
        return answer

    async def list_batches(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> models.BatchPage:
        """A page of batches, the most recently used first; also those that only jobs name.

        Needs a token of the role `watch` or above, or one with `own`.

        limit: a whole number from 1 to 100
        cursor: the next_cursor of the previous page.
        """
        answer: models.BatchPage = decode(
            models.BatchPage,
            await self._send(
                Request(
                    "GET",
                    "/v1/batches",
                    query={"limit": limit, "cursor": cursor},
                    is_repeatable=True,
                )
            ),
        )
        return answer

    async def get_batch(self, name: str) -> models.Batch:
        """A batch: how many of its jobs are in which state, what they cost, why some failed.

        Needs a token of the role `watch` or above, or one with `own`.
        """
        answer: models.Batch = decode(
            models.Batch,
            await self._send(
                Request("GET", path("/v1/batches/{name}", name=name), is_repeatable=True)
            ),
        )
        return answer

    async def list_batch_results(
        self, name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> str:
        """Jobs of a batch that have settled, one JSON object a line, in the order they
        settled.

        Needs a token of the role `watch` or above, or one with `own`.

        limit: a whole number from 1 to 500
        cursor: the cursor of the last line that was read.
        """
        answer: str = await self._send(
            Request(
                "GET",
                path("/v1/batches/{name}/results", name=name),
                query={"limit": limit, "cursor": cursor},
                is_repeatable=True,
            )
        )
        return answer

    async def seal_batch(
        self, name: str, *, note: str | None = None
    ) -> models.Batch | models.BatchCreated:
        """Let no more jobs join a batch. It is complete once all of them have settled.

        Needs a token of the role `enqueue` or above, or one with `own`.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Batch | models.BatchCreated = decode(
            models.Batch | models.BatchCreated,
            await self._send(
                Request("POST", path("/v1/batches/{name}/seal", name=name), body={"note": note})
            ),
        )
        return answer

    async def cancel_batch(self, name: str, *, note: str | None = None) -> models.BatchAction:
        """Let no more jobs join a batch, and cancel those that have not settled; parked ones
        stay.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.BatchAction = decode(
            models.BatchAction,
            await self._send(
                Request("POST", path("/v1/batches/{name}/cancel", name=name), body={"note": note})
            ),
        )
        return answer

    async def requeue_failed_jobs(
        self, name: str, *, note: str | None = None
    ) -> models.BatchAction:
        """Requeue every dead letter of a batch, with the inputs it has.

        Needs a token of the role `operate` or above.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.BatchAction = decode(
            models.BatchAction,
            await self._send(
                Request(
                    "POST",
                    path("/v1/batches/{name}/requeue-failed", name=name),
                    body={"note": note},
                )
            ),
        )
        return answer

    async def list_sessions(self) -> models.SessionPage:
        """Every browser that is logged in.

        Needs a token of the role `operate` or above, without a tenant.
        """
        answer: models.SessionPage = decode(
            models.SessionPage, await self._send(Request("GET", "/v1/sessions", is_repeatable=True))
        )
        return answer

    async def revoke_session(self, id: str, *, note: str | None = None) -> models.Session:
        """End a session: its browser has to log in again.

        Needs a token of the role `operate` or above, without a tenant.

        note: a string of at most 1000 characters, kept in the audit log.
        """
        answer: models.Session = decode(
            models.Session,
            await self._send(
                Request("POST", path("/v1/sessions/{id}/revoke", id=id), body={"note": note})
            ),
        )
        return answer

    async def check_liveness(self) -> models.Liveness:
        """The process answers."""
        answer: models.Liveness = decode(
            models.Liveness, await self._send(Request("GET", "/livez", is_repeatable=True))
        )
        return answer

    async def check_readiness(self) -> models.Readiness:
        """Redis does what is needed. Workers and their troubles are only reported: jobs wait
        safely.
        """
        answer: models.Readiness = decode(
            models.Readiness, await self._send(Request("GET", "/readyz", is_repeatable=True))
        )
        return answer

    async def get_caller(self) -> models.Caller:
        """Who sends this request, and the operations that they may call.

        Needs a token of the role `enqueue` or above, or one with `own`.
        """
        answer: models.Caller = decode(
            models.Caller, await self._send(Request("GET", "/v1/whoami", is_repeatable=True))
        )
        return answer
