"""When a running job is likely to end, as the API tells it."""

from datetime import datetime
from typing import Any

from jobs import transitions
from jobs.outcomes import Accepted
from jobs.polling.samples import sample_at
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory

TARGET = "model/gpt-image-2"


async def _runs_took(job_factory: JobFactory, seconds: float, runs: int = 40) -> None:
    now = job_factory.clock.now()
    seen = [sample_at(now, seconds * (0.9 + 0.2 * n / runs)) for n in range(runs)]
    await job_factory.store.durations.exchange({TARGET: seen}, [])


def _after(job: Any, name: str) -> float:
    """Seconds from the submit to a moment."""
    moments = [datetime.fromisoformat(job[field]) for field in ("submitted_at", name)]
    return (moments[1] - moments[0]).total_seconds()


async def test_a_running_job_has_an_eta(api: CheckedApi, job_factory: JobFactory) -> None:
    await _runs_took(job_factory, 100.0)
    await job_factory.running()
    job = (await api.get("/v1/jobs/job")).json
    assert 95 < _after(job, "eta") < 105
    assert _after(job, "eta") < _after(job, "eta_late") < 130
    (listed,) = (await api.get("/v1/jobs")).json["items"]
    assert abs(_after(listed, "eta") - _after(job, "eta")) < 1
    waited = (await api.get("/v1/jobs/job/wait", timeout_s=0)).json
    assert waited["eta"] is not None


async def test_a_target_that_hardly_ran_has_no_eta(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await _runs_took(job_factory, 100.0, runs=4)
    await job_factory.running()
    job = (await api.get("/v1/jobs/job")).json
    assert (job["eta"], job["eta_late"]) == (None, None)


async def test_a_run_that_takes_longer_than_any_has_no_eta(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await _runs_took(job_factory, 100.0)
    await job_factory.submitting()
    began = job_factory.clock.now() - 5_000
    taken = Accepted("exec-1")
    await job_factory.transition(
        "job", lambda job: transitions.accept(job, began, taken, next_poll_at=began)
    )
    job = (await api.get("/v1/jobs/job")).json
    assert (job["state"], job["eta"]) == ("running", None)


async def test_jobs_that_do_not_run_have_none(api: CheckedApi, job_factory: JobFactory) -> None:
    await _runs_took(job_factory, 100.0)
    await job_factory.queued("queued")
    await job_factory.succeeded("succeeded")
    for job in (await api.get("/v1/jobs")).json["items"]:
        assert (job["eta"], job["eta_late"]) == (None, None)


async def test_what_runs_since_took_is_heeded(api: CheckedApi, job_factory: JobFactory) -> None:
    await _runs_took(job_factory, 100.0)
    await job_factory.running()
    before = _after((await api.get("/v1/jobs/job")).json, "eta")
    await _runs_took(job_factory, 300.0, runs=60)
    assert _after((await api.get("/v1/jobs/job")).json, "eta") > 1.5 * before
