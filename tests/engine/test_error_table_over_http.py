"""Every row of the error table, over real HTTP: what a response does, and how many submits."""

from dataclasses import dataclass
from typing import Any

import pytest

from jobs.states import State
from tests.engine.live_system import LiveSystem, wait_until


@dataclass(frozen=True)
class ErrorRowCase:
    """A fault of the provider, and the expected job."""

    fault: str
    state: State
    posts: int
    """Submits that the provider received for this job."""
    code: str | None = None
    """Code of the reason; by default the name of the fault."""
    hold: str | None = None
    """Scope of the hold that exists afterwards."""
    attempts_spent: int = 0
    target: str = "gpt-image-2"
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.fault + "".join(f" {name}={value}" for name, value in self.options)


LANE = "default/model/gpt-image-2"
ROUTE = "default/model"
ACCOUNT = "default"
DEAD, PARKED, OK = State.DEAD, State.PARKED, State.SUCCEEDED

ROWS = [
    # 400: nothing mends it.
    ErrorRowCase("INVALID_INPUTS", DEAD, 1, attempts_spent=1),
    ErrorRowCase("INVALID_SLUG", DEAD, 1, attempts_spent=1),
    ErrorRowCase("INVALID_BODY", DEAD, 1, attempts_spent=1),
    ErrorRowCase("INVALID_CAPABILITY", DEAD, 1, attempts_spent=1),
    ErrorRowCase("INVALID_SCOPE", DEAD, 1, attempts_spent=1),
    ErrorRowCase("SOMETHING_NEW", DEAD, 1, attempts_spent=1, options=(("status", 400),)),
    ErrorRowCase("HTTP_418", DEAD, 1, attempts_spent=1),
    ErrorRowCase("HTTP_422", DEAD, 1, attempts_spent=1),
    # 404
    ErrorRowCase("MODEL_NOT_FOUND", DEAD, 1, attempts_spent=1),
    ErrorRowCase("HTTP_404", DEAD, 1, attempts_spent=1),
    # The target has no async mode: sync, same attempt.
    ErrorRowCase("ASYNC_NOT_SUPPORTED", OK, 2),
    # 401, 402, 403: park and hold.
    ErrorRowCase("HTTP_401", PARKED, 1, hold=ACCOUNT),
    ErrorRowCase("LEGACY_KEY_RETIRED", PARKED, 1, hold=ACCOUNT),
    ErrorRowCase("INSUFFICIENT_CREDITS", PARKED, 1, hold=ACCOUNT),
    ErrorRowCase("grant_exhausted", PARKED, 1, hold=LANE),
    ErrorRowCase("HTTP_402", PARKED, 1, hold=ACCOUNT),
    ErrorRowCase("SOMETHING_NEW", PARKED, 1, hold=ACCOUNT, options=(("status", 402),)),
    ErrorRowCase(
        "CAPABILITY_DENIED", PARKED, 1, hold=ROUTE, options=(("fields", {"required": "model:run"}),)
    ),
    ErrorRowCase(
        "CAPABILITY_DENIED",
        PARKED,
        1,
        hold=LANE,
        options=(("fields", {"required": "model:gpt-image-2:run"}),),
    ),
    ErrorRowCase(
        "SCOPE_DENIED", PARKED, 1, hold=ROUTE, options=(("fields", {"required": "model:run"}),)
    ),
    ErrorRowCase("CAPABILITY_ABOVE_CEILING", PARKED, 1, hold=LANE),
    ErrorRowCase("API_KEY_ACCESS_DENIED", PARKED, 1, hold=ACCOUNT),
    ErrorRowCase("MODEL_TIER_REQUIRED", PARKED, 1, hold=LANE),
    ErrorRowCase("WORKFLOW_CAP_REACHED", PARKED, 1, hold=LANE),
    ErrorRowCase("HTTP_403", PARKED, 1, hold=LANE),
    ErrorRowCase("SOMETHING_NEW", PARKED, 1, hold=LANE, options=(("status", 403),)),
    # 429: wait, nothing spent.
    ErrorRowCase("RATE_LIMIT_EXCEEDED", OK, 2, options=(("times", 1), ("retry_after", 1))),
    # 500: retry, the attempt is spent.
    ErrorRowCase("EXECUTION_FAILED", OK, 3, attempts_spent=2, options=(("times", 2),)),
    ErrorRowCase("PROVIDER_SUBMIT_FAILED", OK, 2, attempts_spent=1, options=(("times", 1),)),
    ErrorRowCase("PROVIDER_RESPONSE_INCOMPLETE", OK, 2, attempts_spent=1, options=(("times", 1),)),
    ErrorRowCase("SOMETHING_NEW", OK, 2, attempts_spent=1, options=(("status", 500), ("times", 1))),
    ErrorRowCase("HTTP_500", OK, 2, attempts_spent=1, options=(("times", 1),)),
    # Unknown outcomes are never sent again.
    ErrorRowCase("HTTP_502", PARKED, 1, code="uncertain"),
    ErrorRowCase("html_502", PARKED, 1, code="uncertain"),
    ErrorRowCase("html_504", PARKED, 1, code="uncertain"),
    ErrorRowCase("html_500", PARKED, 1, code="uncertain"),
    ErrorRowCase("html_200", PARKED, 1, code="uncertain"),
    ErrorRowCase("truncated_json", PARKED, 1, code="uncertain"),
    ErrorRowCase("empty_body", PARKED, 1, code="uncertain"),
    ErrorRowCase("drop_after", PARKED, 1, code="uncertain"),
    ErrorRowCase("id_missing", PARKED, 1, code="uncertain"),
    # Odd shapes of success.
    ErrorRowCase("accepted_202", OK, 1),
    ErrorRowCase("sync_answer", OK, 1),
    ErrorRowCase("status_unknown", OK, 1, options=(("times", 2),)),
    # A run that was taken and fails.
    ErrorRowCase(
        "fails",
        DEAD,
        1,
        code="INVALID_INPUTS",
        attempts_spent=1,
        options=(("code", "INVALID_INPUTS"),),
    ),
    ErrorRowCase(
        "fails", OK, 2, attempts_spent=1, options=(("code", "EXECUTION_FAILED"), ("times", 1))
    ),
    ErrorRowCase(
        "fails",
        OK,
        2,
        attempts_spent=1,
        options=(("code", "BRAND_NEW"), ("times", 1), ("error", "string")),
    ),
    ErrorRowCase(
        "fails",
        PARKED,
        1,
        code="INSUFFICIENT_CREDITS",
        hold=ACCOUNT,
        options=(("code", "INSUFFICIENT_CREDITS"),),
    ),
    # Polls that do not get through: the run is paid for.
    ErrorRowCase("EXECUTION_NOT_FOUND", OK, 1, options=(("times", 2),)),
    ErrorRowCase("EXECUTION_NOT_FOUND", PARKED, 1, code="uncertain"),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_an_answer_does_what_its_row_says(system: LiveSystem, row: ErrorRowCase) -> None:
    async with system.worker(submit_timeout_s=3.0):
        job_id = await system.enqueue(row.target, label="it", fault=row.fault, **dict(row.options))
        job = await system.until(job_id)
    assert job.state is row.state, job.reason
    if row.state is not OK:
        assert job.reason is not None
        assert job.reason.code == (row.code or row.fault)
        assert job.reason.action, "the reason says what to do"
    assert (await system.ledger("it"))["posts"] == row.posts
    assert job.spent == row.attempts_spent
    holds = await system.store.holds.list_all()
    assert [hold.scope for hold in holds] == ([row.hold] if row.hold else [])
    if row.hold and job.reason:
        assert job.reason.hold_id == holds[0].id


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_poll_that_does_not_get_through_leaves_the_paid_run_running(
    system: LiveSystem, status: int
) -> None:
    poll = {"fault": f"HTTP_{status}", "times": 2, "retry_after": 0}
    async with system.worker():
        job_id = await system.enqueue(label="it", poll=poll)
        job = await system.until(job_id)
    assert job.state is State.SUCCEEDED
    assert (await system.ledger("it"))["posts"] == 1
    assert not await system.store.holds.list_all()


async def test_a_job_alone_dies_after_its_attempts_where_no_outage_is_to_be_borne(
    system: LiveSystem,
) -> None:
    async with system.worker(outage_limit_s=0):
        job = await system.until(await system.enqueue(label="it", fault="EXECUTION_FAILED"))
    assert (job.state, job.reason and job.reason.code) == (DEAD, "EXECUTION_FAILED")
    assert (job.spent, (await system.ledger("it"))["posts"]) == (5, 5)


async def test_a_job_alone_is_retried_for_longer_than_it_has_attempts(system: LiveSystem) -> None:
    async with system.worker():
        job_id = await system.enqueue(label="it", fault="EXECUTION_FAILED")

        async def is_postponed() -> bool:
            job = await system.job(job_id)
            return job.outage is not None and job.outage.is_postponed

        await wait_until(is_postponed, "it has spent all attempts but one, and goes on")
        job = await system.job(job_id)
        assert job.reason
        assert "no other job of its lane has succeeded" in job.reason.action
        await system.until(await system.enqueue(label="other"))
        await system.until(job_id)
    assert (await system.job(job_id)).state is DEAD, "another one has succeeded"


async def test_503_is_retried_with_no_attempt_spent(system: LiveSystem) -> None:
    async with system.worker():
        job_id = await system.enqueue(label="it", fault="HTTP_503", times=7)
        job = await system.until(job_id)
    assert job.state is State.SUCCEEDED
    assert (job.spent, len(job.attempts)) == (0, 8)
    (breaker,) = await system.store.breakers.list_all()
    assert (breaker.scope, breaker.failures, breaker.trips) == (LANE, 7, 0), "one job trips nothing"


async def test_a_provider_that_cannot_be_reached_spends_nothing(system: LiveSystem) -> None:
    async with system.worker(base_url="http://127.0.0.1:9"):
        job_id = await system.enqueue(label="it")

        async def given_back() -> bool:
            job = await system.job(job_id)
            return any(event.name == "return_to_queue" for event in job.events)

        await wait_until(given_back, "the job is back in its lane")
        job = await system.job(job_id)
        assert (job.spent, job.submits, job.attempts) == (0, 0, ())
    assert (await system.ledger("it"))["posts"] == 0
