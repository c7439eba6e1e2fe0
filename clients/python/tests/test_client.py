"""The client that blocks, against a real server."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone

import pytest
from conftest import FAST, run_inputs
from failing_proxy import FailingProxy

from knouds_worker_client import (
    BadRequestError,
    Client,
    ConflictError,
    ConnectionFailed,
    JobCancelled,
    JobDead,
    JobParked,
    NotFoundError,
    RateLimitError,
    UnavailableError,
    WaitTimeout,
    models,
)
from knouds_worker_client.errors import JobNotSucceeded
from knouds_worker_client.retries import RetryPolicy


def test_a_run_has_its_result(client: Client) -> None:
    job = client.run("model", "gpt-image-2", run_inputs(), tags=["cover"], timeout_s=30)
    assert job.state == "succeeded"
    assert job.result
    assert job.tags == ["cover"]
    assert job.created_at.tzinfo is not None
    assert isinstance(job.attempts[0], models.Attempt)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [({"fault": "INVALID_INPUTS"}, JobDead), ({"fault": "drop_after"}, JobParked)],
)
def test_a_run_without_a_result_raises_with_the_job(
    client: Client, behaviour: dict[str, str], error: type[JobNotSucceeded]
) -> None:
    with pytest.raises(error) as raised:
        client.run("model", "gpt-image-2", run_inputs(**behaviour), timeout_s=30)
    assert raised.value.job.reason is not None
    assert raised.value.job.reason.code in str(raised.value)


def test_a_wait_for_a_job_that_is_cancelled_ends(client: Client) -> None:
    job = client.enqueue_job(kind="model", target="suno", inputs=run_inputs(), delay_s=3600)
    cancelled = client.cancel_job(job.id, note="not needed")
    assert cancelled.state == "cancelled"
    with pytest.raises(JobCancelled):
        raise JobCancelled(client.wait(job.id, timeout_s=5))


def test_a_wait_ends_in_time_and_the_job_goes_on(client: Client) -> None:
    in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
    job = client.enqueue_job(kind="model", target="suno", inputs=run_inputs(), run_at=in_an_hour)
    with pytest.raises(WaitTimeout) as raised:
        client.wait(job.id, timeout_s=0.2)
    assert client.get_job(raised.value.job_id).state == "scheduled"
    client.cancel_job(job.id)


def test_an_enqueue_whose_answer_is_lost_makes_one_job(proxy: FailingProxy) -> None:
    tag = uuid.uuid4().hex
    with Client(proxy.url, retries=FAST) as client:
        proxy.faults.extend(["lost", "busy", "limited"])
        job = client.enqueue_job(
            kind="model", target="suno", inputs=run_inputs(), tags=[tag], delay_s=3600
        )
        assert proxy.requests == ["POST /v1/jobs"] * 4
        assert [one.id for one in client.list_jobs(tag=tag).items] == [job.id]
        client.cancel_job(job.id)


def test_a_bulk_whose_answer_is_lost_makes_each_job_once(proxy: FailingProxy) -> None:
    tag = uuid.uuid4().hex
    requests = [
        models.JobRequestBody(
            kind="model", target="suno", inputs=run_inputs(), tags=[tag], delay_s=3600
        )
        for _ in range(3)
    ]
    with Client(proxy.url, retries=FAST) as client:
        proxy.faults.append("lost")
        done = client.enqueue_jobs(jobs=requests)
        assert {one.status for one in done.results} == {200}
        found = client.list_jobs(tag=tag).items
        assert {one.id for one in found} == {one.id for one in done.results}
        assert client.cancel_jobs(filter=models.JobFilter(tag=tag)).done == 3


def test_an_action_whose_answer_is_lost_is_not_repeated(proxy: FailingProxy) -> None:
    with Client(proxy.url, retries=FAST) as client:
        job = client.enqueue_job(kind="model", target="suno", inputs=run_inputs(), delay_s=3600)
        proxy.requests.clear()
        proxy.faults.append("lost")
        with pytest.raises(ConnectionFailed):
            client.cancel_job(job.id)
        assert len(proxy.requests) == 1
        assert client.get_job(job.id).state == "cancelled"


def test_tries_end(proxy: FailingProxy) -> None:
    with Client(proxy.url, retries=RetryPolicy(max_tries=2, base_s=0.01)) as client:
        for fault, error in (("busy", UnavailableError), ("limited", RateLimitError)):
            proxy.faults.extend([fault] * 2)
            with pytest.raises(error):
                client.get_stats()
        assert len(proxy.requests) == 4


def test_a_server_that_is_not_there_is_a_failed_connection() -> None:
    policy = RetryPolicy(max_tries=2, base_s=0.01)
    with Client("http://127.0.0.1:9", retries=policy) as client, pytest.raises(ConnectionFailed):
        client.get_stats()


def test_without_a_stream_a_wait_polls(proxy: FailingProxy) -> None:
    proxy.has_streams = False
    with Client(proxy.url, retries=FAST) as client:
        job = client.run("model", "gpt-image-2", run_inputs(duration_s=0.3), timeout_s=30)
    assert job.state == "succeeded"
    assert f"GET /v1/jobs/{job.id}/wait" in proxy.requests


def test_with_a_stream_a_wait_does_not_poll(proxy: FailingProxy) -> None:
    with Client(proxy.url, retries=FAST) as client:
        job = client.run("model", "gpt-image-2", run_inputs(duration_s=0.3), timeout_s=30)
    assert f"GET /v1/jobs/{job.id}/wait" not in proxy.requests
    assert proxy.requests.count(f"GET /v1/jobs/{job.id}") <= 3


def test_a_list_is_iterated_to_its_end(client: Client) -> None:
    tag = uuid.uuid4().hex
    for _ in range(5):
        client.enqueue_job(
            kind="model", target="suno", inputs=run_inputs(), tags=[tag], delay_s=3600
        )
    found = list(client.iterate(client.list_jobs, tag=tag, limit=2))
    assert len({job.id for job in found}) == 5
    since = min(job.created_at for job in found) - timedelta(seconds=1)
    assert len(client.list_jobs(tag=tag, since=since).items) == 5
    client.cancel_jobs(filter=models.JobFilter(tag=tag), note="the test is over")


def test_errors_carry_the_problem(client: Client) -> None:
    with pytest.raises(NotFoundError) as missing:
        client.get_job("nothing/at all")
    assert missing.value.problem.type.endswith("no-such-job")
    with pytest.raises(BadRequestError) as wrong:
        client.enqueue_job(kind="model", target="suno", inputs={}, priority=600)
    assert wrong.value.problem.field == "priority"
    job = client.enqueue_job(kind="model", target="suno", inputs=run_inputs(), delay_s=3600)
    with pytest.raises(ConflictError, match="409"):
        client.enqueue_job(kind="model", target="suno", inputs={}, id=job.id)
    client.cancel_job(job.id)


def test_what_is_no_json_comes_as_text(client: Client) -> None:
    assert "# TYPE" in client.get_metrics()
    assert client.export_credits().startswith("day")


def test_events_are_streamed_from_the_id_that_is_given(client: Client) -> None:
    job = client.enqueue_job(kind="model", target="suno", inputs=run_inputs(), delay_s=3600)
    client.cancel_job(job.id)
    events = client.stream_events(last_event_id="0", target="suno")
    found = next(one.data for one in events if one.data.get("id") == job.id)
    events.close()
    assert (found["from"], found["to"]) == (None, "scheduled")
