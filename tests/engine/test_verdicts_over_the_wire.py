"""Every row of the verdict table, over real HTTP: what an answer does, and how often was sent."""

from dataclasses import dataclass
from typing import Any

import pytest

from jobs.lanes import Lane
from jobs.states import State
from tests.engine.stack import Stack, wait_until


@dataclass(frozen=True)
class Row:
    """A fault of the provider, and what has to become of the job."""

    fault: str
    state: State
    posts: int
    """Submits the provider saw for this job."""
    code: str | None = None
    """Code of the reason; the fault's own name unless said otherwise."""
    hold: str | None = None
    """Scope of the hold that stands afterwards."""
    spent: int = 0
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
    Row("INVALID_INPUTS", DEAD, 1, spent=1),
    Row("INVALID_SLUG", DEAD, 1, spent=1),
    Row("INVALID_BODY", DEAD, 1, spent=1),
    Row("INVALID_CAPABILITY", DEAD, 1, spent=1),
    Row("INVALID_SCOPE", DEAD, 1, spent=1),
    Row("SOMETHING_NEW", DEAD, 1, spent=1, options=(("status", 400),)),
    Row("HTTP_418", DEAD, 1, spent=1),
    Row("HTTP_422", DEAD, 1, spent=1),
    # 404
    Row("MODEL_NOT_FOUND", DEAD, 1, spent=1),
    Row("HTTP_404", DEAD, 1, spent=1),
    # The target has no async mode: sync, same attempt.
    Row("ASYNC_NOT_SUPPORTED", OK, 2),
    # 401, 402, 403: park and hold.
    Row("HTTP_401", PARKED, 1, hold=ACCOUNT),
    Row("LEGACY_KEY_RETIRED", PARKED, 1, hold=ACCOUNT),
    Row("INSUFFICIENT_CREDITS", PARKED, 1, hold=ACCOUNT),
    Row("grant_exhausted", PARKED, 1, hold=LANE),
    Row("HTTP_402", PARKED, 1, hold=ACCOUNT),
    Row("SOMETHING_NEW", PARKED, 1, hold=ACCOUNT, options=(("status", 402),)),
    Row(
        "CAPABILITY_DENIED", PARKED, 1, hold=ROUTE, options=(("fields", {"required": "model:run"}),)
    ),
    Row(
        "CAPABILITY_DENIED",
        PARKED,
        1,
        hold=LANE,
        options=(("fields", {"required": "model:gpt-image-2:run"}),),
    ),
    Row("SCOPE_DENIED", PARKED, 1, hold=ROUTE, options=(("fields", {"required": "model:run"}),)),
    Row("CAPABILITY_ABOVE_CEILING", PARKED, 1, hold=LANE),
    Row("API_KEY_ACCESS_DENIED", PARKED, 1, hold=ACCOUNT),
    Row("MODEL_TIER_REQUIRED", PARKED, 1, hold=LANE),
    Row("WORKFLOW_CAP_REACHED", PARKED, 1, hold=LANE),
    Row("HTTP_403", PARKED, 1, hold=LANE),
    Row("SOMETHING_NEW", PARKED, 1, hold=LANE, options=(("status", 403),)),
    # 429: wait, nothing spent.
    Row("RATE_LIMIT_EXCEEDED", OK, 2, options=(("times", 1), ("retry_after", 1))),
    # 500: retry, the attempt is spent.
    Row("EXECUTION_FAILED", OK, 3, spent=2, options=(("times", 2),)),
    Row("PROVIDER_SUBMIT_FAILED", OK, 2, spent=1, options=(("times", 1),)),
    Row("PROVIDER_RESPONSE_INCOMPLETE", OK, 2, spent=1, options=(("times", 1),)),
    Row("SOMETHING_NEW", OK, 2, spent=1, options=(("status", 500), ("times", 1))),
    Row("HTTP_500", OK, 2, spent=1, options=(("times", 1),)),
    Row("EXECUTION_FAILED", DEAD, 5, spent=5),
    # Unknown outcomes are never sent again.
    Row("HTTP_502", PARKED, 1, code="uncertain"),
    Row("html_502", PARKED, 1, code="uncertain"),
    Row("html_504", PARKED, 1, code="uncertain"),
    Row("html_500", PARKED, 1, code="uncertain"),
    Row("html_200", PARKED, 1, code="uncertain"),
    Row("truncated_json", PARKED, 1, code="uncertain"),
    Row("empty_body", PARKED, 1, code="uncertain"),
    Row("drop_after", PARKED, 1, code="uncertain"),
    Row("id_missing", PARKED, 1, code="uncertain"),
    # Odd shapes of success.
    Row("accepted_202", OK, 1),
    Row("sync_answer", OK, 1),
    Row("status_unknown", OK, 1, options=(("times", 2),)),
    # A run that was taken and fails.
    Row("fails", DEAD, 1, code="INVALID_INPUTS", spent=1, options=(("code", "INVALID_INPUTS"),)),
    Row("fails", OK, 2, spent=1, options=(("code", "EXECUTION_FAILED"), ("times", 1))),
    Row(
        "fails", OK, 2, spent=1, options=(("code", "BRAND_NEW"), ("times", 1), ("error", "string"))
    ),
    Row(
        "fails",
        PARKED,
        1,
        code="INSUFFICIENT_CREDITS",
        hold=ACCOUNT,
        options=(("code", "INSUFFICIENT_CREDITS"),),
    ),
    Row("no_result", PARKED, 1, code="uncertain"),
    # Polls that do not get through: the run is paid for.
    Row("EXECUTION_NOT_FOUND", OK, 1, options=(("times", 2),)),
    Row("EXECUTION_NOT_FOUND", PARKED, 1, code="uncertain"),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_an_answer_does_what_its_row_says(system: Stack, row: Row) -> None:
    async with system.worker(submit_timeout_s=3.0):
        job_id = await system.enqueue(row.target, label="it", fault=row.fault, **dict(row.options))
        job = await system.until(job_id)
    assert job.state is row.state, job.reason
    if row.state is not OK:
        assert job.reason is not None
        assert job.reason.code == (row.code or row.fault)
        assert job.reason.action, "a person is told what to do"
    assert (await system.ledger("it"))["posts"] == row.posts
    assert job.spent == row.spent
    holds = await system.store.gates.holds()
    assert [hold.scope for hold in holds] == ([row.hold] if row.hold else [])
    if row.hold and job.reason:
        assert job.reason.hold_id == holds[0].id


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_poll_that_does_not_get_through_leaves_the_paid_run_running(
    system: Stack, status: int
) -> None:
    poll = {"fault": f"HTTP_{status}", "times": 2, "retry_after": 0}
    async with system.worker():
        job_id = await system.enqueue(label="it", poll=poll)
        job = await system.until(job_id)
    assert job.state is State.SUCCEEDED
    assert (await system.ledger("it"))["posts"] == 1
    assert not await system.store.gates.holds()


async def test_503_is_retried_and_cools_the_lane_down(system: Stack) -> None:
    async with system.worker():
        job_id = await system.enqueue(label="it", fault="HTTP_503", times=1)

        async def failed_once() -> bool:
            return (await system.job(job_id)).spent == 1

        await wait_until(failed_once, "the attempt is spent")
        now = (await system.job(job_id)).updated_at
        cooling = (await system.store.gates.standing()).cooling(Lane.parse(LANE).scopes, now)
        assert cooling is not None
        assert cooling.scope == LANE


async def test_a_provider_that_cannot_be_reached_spends_nothing(system: Stack) -> None:
    async with system.worker(base_url="http://127.0.0.1:9"):
        job_id = await system.enqueue(label="it")

        async def given_back() -> bool:
            job = await system.job(job_id)
            return any(event.name == "give_back" for event in job.events)

        await wait_until(given_back, "the job is back in its lane")
        job = await system.job(job_id)
        assert (job.spent, job.submits, job.attempts) == (0, 0, ())
    assert (await system.ledger("it"))["posts"] == 0
