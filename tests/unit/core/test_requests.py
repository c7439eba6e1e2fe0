"""A job request: its fingerprint, and the job that it becomes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from jobs.job import Job
from jobs.lanes import JobId
from jobs.requests import JobRequest, new_job
from jobs.states import Kind, OnUncertain, State
from tests.unit.core.job_builders import NOW


def payload(**inputs: Any) -> bytes:
    return json.dumps(inputs, sort_keys=True).encode()


REQUEST = JobRequest(Kind.MODEL, "suno", payload(prompt="rain", seed=1))


def job_for(request: JobRequest) -> Job:
    return new_job(request, JobId("j1"), NOW, max_attempts=5, deadline_s=3600.0, by="app")


def test_the_same_request_has_the_same_fingerprint_in_any_order_of_keys() -> None:
    again = JobRequest(Kind.MODEL, "suno", payload(seed=1, prompt="rain"))
    assert again.fingerprint == REQUEST.fingerprint
    assert job_for(REQUEST).fingerprint == REQUEST.fingerprint


OTHERS: dict[str, Any] = {
    "kind": Kind.WORKFLOW,
    "target": "suno-2",
    "inputs": payload(prompt="rain", seed=2),
    "account": "studio",
    "priority": 1,
    "tags": ("a",),
    "batch": "b",
    "run_at": NOW,
    "delay_s": 5.0,
    "max_attempts": 2,
    "deadline_s": 9.0,
    "on_uncertain": OnUncertain.RETRY,
    "callback_url": "https://hooks.example.com/x",
    "start_by": NOW,
    "metadata": b'{"order":7}',
    "fair_key": "ann",
    "after": ("p",),
}


@pytest.mark.parametrize("field", OTHERS)
def test_anything_else_that_differs_is_another_payload(field: str) -> None:
    assert replace(REQUEST, **{field: OTHERS[field]}).fingerprint != REQUEST.fingerprint


def test_every_field_of_a_request_counts() -> None:
    assert set(OTHERS) == set(JobRequest.__dataclass_fields__)


def test_facts_do_not_run_into_each_other() -> None:
    one = replace(REQUEST, tags=("a", "b"))
    assert one.fingerprint != replace(REQUEST, tags=("a,b",)).fingerprint
    assert one.fingerprint != replace(REQUEST, tags=("b", "a")).fingerprint
    assert replace(REQUEST, run_at=5.0).fingerprint != replace(REQUEST, delay_s=5.0).fingerprint


def test_inputs_stay_out_of_what_is_printed() -> None:
    assert "rain" not in repr(REQUEST)


def test_a_request_for_now_is_queued() -> None:
    job = job_for(REQUEST)
    assert (job.state, job.queued_at, job.due_at, job.scheduled_for) == (
        State.QUEUED,
        NOW,
        None,
        None,
    )
    assert [(event.name, event.by) for event in job.events] == [("enqueue", "app")]


@pytest.mark.parametrize("when", [{"run_at": NOW + 60}, {"delay_s": 60.0}], ids=str)
def test_a_request_for_later_is_scheduled(when: dict[str, Any]) -> None:
    job = job_for(replace(REQUEST, **when))
    assert (job.state, job.due_at, job.scheduled_for) == (State.SCHEDULED, NOW + 60, NOW + 60)
    assert job.queued_at is None


@pytest.mark.parametrize("when", [{"run_at": NOW - 60}, {"run_at": NOW}, {"delay_s": 0.0}], ids=str)
def test_a_time_that_has_passed_is_now(when: dict[str, Any]) -> None:
    job = job_for(replace(REQUEST, **when))
    assert (job.state, job.queued_at, job.due_at) == (State.QUEUED, NOW, None)


def test_what_a_request_omits_comes_from_the_settings() -> None:
    assert (job_for(REQUEST).max_attempts, job_for(REQUEST).deadline_s) == (5, 3600.0)
    own = job_for(replace(REQUEST, max_attempts=1, deadline_s=7.0))
    assert (own.max_attempts, own.deadline_s) == (1, 7.0)


def test_a_job_has_the_fields_of_its_request() -> None:
    request = replace(
        REQUEST,
        account="studio",
        priority=7,
        tags=("a",),
        batch="b",
        on_uncertain=OnUncertain.RETRY,
    )
    job = job_for(request)
    fields = ("kind", "target", "account", "priority", "tags", "batch", "on_uncertain")
    assert all(getattr(job, name) == getattr(request, name) for name in fields)
