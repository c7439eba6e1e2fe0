"""Answers that are not the provider's usual ones, over the wire, in a whole worker."""

from collections.abc import AsyncGenerator, Callable

import pytest
from structlog.testing import capture_logs

from jobs.holds import Canary, Hold, HoldPhase
from jobs.job import Job
from jobs.lanes import Scope
from jobs.states import State
from tests.engine.live_system import OPERATOR, LiveSystem, wait_until
from tests.engine.stand_in import StandIn, page, reply, result_of, stand_in
from worker.app.action_table import JobAction
from worker.engine.poll_proof import MIN_LIMIT

SLOTS = 8
JOBS = 30


@pytest.fixture
async def provider() -> AsyncGenerator[StandIn]:
    async with stand_in() as found:
        yield found


async def until_held(system: LiveSystem, code: str) -> None:
    async def is_held() -> bool:
        return [hold.code for hold in await system.store.holds.list_all()] == [code]

    await wait_until(is_held, f"a hold {code}")


async def until_job(system: LiveSystem, job_id: str, claim: Callable[[Job], bool]) -> Job:
    async def holds() -> bool:
        return claim(await system.job(job_id))

    await wait_until(holds, f"the claim about {job_id}")
    return await system.job(job_id)


# Submits.


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (
            reply(301, "Location: https://knouds.example/api/x"),
            "redirected",
            "Set KNOUDS_BASE_URL to https://knouds.example,",
        ),
        (page(307), "redirected", "Set KNOUDS_BASE_URL to the address of the Knouds API,"),
        (page(404), "not_the_api", "KNOUDS_BASE_URL"),
        (page(405), "not_the_api", "KNOUDS_BASE_URL"),
        (page(403, "Attention Required"), "not_the_api", "KNOUDS_BASE_URL"),
        (page(400), "not_the_api", "KNOUDS_BASE_URL"),
        (page(422), "not_the_api", "KNOUDS_BASE_URL"),
        (reply(404, detail="Not Found"), "not_the_api", "KNOUDS_BASE_URL"),
        (
            page(400, "The plain HTTP request was sent to HTTPS port"),
            "not_the_api",
            "Set KNOUDS_BASE_URL to https://127.0.0.1:",
        ),
        (page(200, "<input type=password>"), "not_the_api", "KNOUDS_BASE_URL"),
        (reply(200, error="top up", code="INSUFFICIENT_CREDITS"), "INSUFFICIENT_CREDITS", "Top up"),
        (reply(402, "Content-Encoding: gzip", error="top up"), "HTTP_402", "settle it"),
    ],
    ids=[
        "301",
        "307",
        "404",
        "405",
        "403",
        "400",
        "422",
        "JSON of a gateway",
        "TLS",
        "login",
        "refused in a 2xx",
        "unreadable",
    ],
)
async def test_one_cause_places_one_hold_and_costs_no_job(
    system: LiveSystem, provider: StandIn, answer: bytes, code: str, words: str
) -> None:
    accepted = provider.on_submit
    provider.on_submit = lambda _: answer
    async with system.worker(base_url=provider.url, max_jobs=SLOTS):
        ids = [await system.enqueue(job_id=f"j{n}") for n in range(JOBS)]
        await until_held(system, code)
        (hold,) = await system.store.holds.list_all()
        assert hold.scope == "default"
        assert words in hold.action
        provider.on_submit = accepted
        await system.actions.release_hold(hold.id, OPERATOR)
        jobs = await system.all_until(ids, State.SUCCEEDED)
    assert len(provider.submits) <= JOBS + SLOTS
    assert {job.spent for job in jobs} == {0}


@pytest.mark.parametrize("status", [413, 414, 431])
@pytest.mark.parametrize("as_page", [True, False])
async def test_a_request_that_is_too_large_is_dead_in_any_form(
    system: LiveSystem, provider: StandIn, status: int, *, as_page: bool
) -> None:
    provider.on_submit = lambda _: page(status) if as_page else reply(status, error="too large")
    async with system.worker(base_url=provider.url):
        job = await system.until(await system.enqueue())
    assert (job.state, len(provider.submits)) == (State.DEAD, 1)


@pytest.mark.parametrize(
    "answer",
    [page(303), page(200, "It works"), page(501), page(520), reply(408, error="slow")],
    ids=["303", "200", "501", "520", "408"],
)
async def test_what_may_have_started_a_run_is_uncertain(
    system: LiveSystem, provider: StandIn, answer: bytes
) -> None:
    provider.on_submit = lambda _: answer
    async with system.worker(base_url=provider.url):
        job = await system.until(await system.enqueue())
    assert (job.parked_as, len(provider.submits)) == ("uncertain", 1)


async def test_one_run_that_answers_two_submits_is_the_run_of_one_job(
    system: LiveSystem, provider: StandIn
) -> None:
    """Also once it has ended: as where a cache answers each submit like the first."""
    provider.on_submit = lambda _: reply(_async=True, executionId="run-1", requestId="req-1")
    async with system.worker(base_url=provider.url):
        first = await system.until(await system.enqueue(job_id="j1"))
        second = await system.until(await system.enqueue(job_id="j2"))
    assert (first.state, first.execution_id) == (State.SUCCEEDED, "run-1")
    assert (second.parked_as, second.execution_id) == ("uncertain", None)
    assert second.reason is not None
    assert second.reason.cause == "run_of_another_job"
    assert "execution run-1, which is the run of job j1" in second.reason.message
    result = (await system.store.payloads.read("j2")).result
    assert result is None


async def test_one_sync_answer_that_names_the_run_of_another_job_is_no_result(
    system: LiveSystem, provider: StandIn
) -> None:
    provider.on_submit = lambda _: reply(result={"text": "one"}, executionId="run-1")
    async with system.worker(base_url=provider.url):
        ids = [await system.enqueue(job_id=f"j{n}") for n in range(3)]
        jobs = [await system.until(job_id) for job_id in ids]
    states = sorted(job.state for job in jobs)
    assert states == [State.PARKED, State.PARKED, State.SUCCEEDED]


# Polls.


async def test_an_answer_about_another_execution_is_ignored_and_shown(
    system: LiveSystem, provider: StandIn
) -> None:
    provider.on_poll = lambda _: result_of("00000000-0000-0000-0000-000000000000")
    async with system.worker(base_url=provider.url):
        job_id = await system.enqueue()
        noted = await until_job(system, job_id, lambda job: job.events[-1].name == "other_run")
        assert (noted.state, noted.execution_id) == (State.RUNNING, "run-1")
        assert "00000000" in noted.events[-1].note
        provider.on_poll = result_of
        job = await system.until(job_id)
    assert (job.state, job.execution_id) == (State.SUCCEEDED, "run-1")
    result = (await system.store.payloads.read(job_id)).result
    assert result == b'{"text": "run-1"}'


async def test_a_cancel_answered_for_another_execution_does_not_count_as_sent(
    system: LiveSystem, provider: StandIn
) -> None:
    provider.on_poll = lambda run: reply(executionId=run, status="processing")
    provider.on_cancel = lambda _: reply(executionId="another", status="cancel_requested")
    async with system.worker(base_url=provider.url):
        job_id = await system.enqueue()
        await system.until(job_id, State.RUNNING)
        await system.actions.act(JobAction.CANCEL, job_id, OPERATOR)
        asked = len(provider.polls)
        await wait_until(lambda: _is(len(provider.polls) > asked + 1), "two more polls")
        assert not (await system.job(job_id)).cancel_sent
        provider.on_poll = lambda run: reply(executionId=run, status="cancelled")
        assert (await system.until(job_id)).state is State.CANCELLED


async def _is(value: bool) -> bool:  # noqa: FBT001  a claim that needs no call
    return value


@pytest.mark.parametrize(
    "answer",
    [
        reply(403, error="no", code="CAPABILITY_DENIED", required="execution:read"),
        reply(401),
        page(401),
        reply(401, "Content-Encoding: gzip", error="no"),
        reply(200, error="no", code="CAPABILITY_DENIED", required="execution:read"),
        reply(200, error="old", code="LEGACY_KEY_RETIRED"),
    ],
    ids=["403", "401", "a 401 as a page", "an unreadable 401", "200", "200 of an old key"],
)
async def test_runs_that_nobody_can_fetch_are_not_paid_for(
    system: LiveSystem, provider: StandIn, answer: bytes
) -> None:
    provider.on_poll = lambda _: answer
    async with system.worker(base_url=provider.url, max_jobs=SLOTS):
        ids = [await system.enqueue(job_id=f"j{n}") for n in range(SLOTS)]

        async def is_held() -> bool:
            return bool(await system.store.holds.list_all())

        await wait_until(is_held, "a hold")
        ids += [await system.enqueue(job_id=f"j{n}") for n in range(SLOTS, JOBS)]
        (hold,) = await system.store.holds.list_all()
        assert (hold.scope, hold.canary) == ("default", Canary.POLL)

        async def are_answered() -> bool:
            return not await system.jobs_matching(state=State.SUBMITTING)

        await wait_until(are_answered, "the end of the submits that were under way")
        paid = set(await _running(system))
        assert len(provider.submits) <= SLOTS, "the others wait behind the hold"

        # The key is still refused: the canary is a poll, it closes the hold, nothing is submitted.
        submits, polls = len(provider.submits), len(provider.polls)
        await system.actions.release_hold(hold.id, OPERATOR)
        await wait_until(lambda: _is(len(provider.polls) > polls), "the canary")

        async def is_closed_again() -> bool:
            (found,) = await system.store.holds.list_all()
            return found.phase is HoldPhase.CLOSED and found.relapses == 1

        await wait_until(is_closed_again, "the relapse")
        assert len(provider.submits) == submits
        assert set(await _running(system)) >= paid

        provider.on_poll = result_of
        await system.actions.release_hold(hold.id, OPERATOR)
        jobs = await system.all_until(ids, State.SUCCEEDED)
    assert len(provider.submits) == JOBS
    assert {job.submits for job in jobs} == {1}
    assert not await system.store.holds.list_all()


@pytest.mark.parametrize(
    "answer",
    [reply(403, error="no", code="CAPABILITY_DENIED"), reply(401), reply(500), page(502)],
    ids=["403", "401", "500", "502"],
)
async def test_no_more_runs_than_submit_slots_are_paid_for_before_a_poll_is_answered(
    system: LiveSystem, provider: StandIn, answer: bytes
) -> None:
    provider.on_poll = lambda _: answer
    ids = [await system.enqueue(job_id=f"j{n}") for n in range(JOBS)]
    async with system.worker(base_url=provider.url, max_jobs=MIN_LIMIT):

        async def waits() -> bool:
            beats = await system.store.workers.heartbeats()
            is_held = bool(await system.store.holds.list_all())
            return is_held or any("default" in beat.unproved_accounts for beat in beats)

        await wait_until(waits, "the pause of submits")
        assert len(provider.submits) <= MIN_LIMIT
        (queued, *_) = await system.jobs_matching(state=State.QUEUED)
        blockers = await system.queries.why(queued)
        assert {"hold", "polls"} & {blocker.kind for blocker in blockers}
        provider.on_poll = result_of
        for hold in await system.store.holds.list_all():
            await system.actions.release_hold(hold.id, OPERATOR)
        jobs = await system.all_until(ids, State.SUCCEEDED)
    assert len(provider.submits) == JOBS
    assert {job.submits for job in jobs} == {1}


async def test_a_released_hold_without_a_run_to_poll_lets_a_submit_through(
    system: LiveSystem, provider: StandIn
) -> None:
    hold = Hold(
        id="hold-1",
        scope=Scope("default"),
        code="CAPABILITY_DENIED",
        created_at=0.0,
        phase=HoldPhase.OPENING,
        canary=Canary.POLL,
    )
    await system.store.holds.change(hold.key, lambda _: hold)
    ids = [await system.enqueue(job_id=f"j{n}") for n in range(JOBS)]
    async with system.worker(base_url=provider.url):
        await system.all_until(ids, State.SUCCEEDED)
    assert not await system.store.holds.list_all()


async def _running(system: LiveSystem) -> list[str]:
    return [job.id for job in await system.jobs_matching(state=State.RUNNING)]


async def test_without_a_paid_run_one_submit_is_the_canary_and_its_poll_opens_the_hold(
    system: LiveSystem, provider: StandIn
) -> None:
    provider.on_poll = lambda _: reply(403, error="no", code="CAPABILITY_DENIED")
    async with system.worker(base_url=provider.url, max_jobs=1):
        first = await system.enqueue()
        await until_held(system, "CAPABILITY_DENIED")
        ids = [await system.enqueue(job_id=f"j{n}") for n in range(5)]
        provider.on_poll = lambda run: reply(
            executionId=run, status="failed", error={"code": "INVALID_INPUTS"}
        )
        await system.store.polls.make_due([first], 0.0)
        await system.until(first, State.DEAD)
        provider.on_poll = lambda _: reply(403, error="no", code="CAPABILITY_DENIED")
        (hold,) = await system.store.holds.list_all()
        await system.actions.release_hold(hold.id, OPERATOR)
        await wait_until(lambda: _is(len(provider.submits) == 2), "the canary submit")

        async def is_closed_again() -> bool:
            return (await system.store.holds.list_all())[0].relapses == 1

        await wait_until(is_closed_again, "the relapse")
        assert len(provider.submits) == 2
        provider.on_poll = result_of
        await system.actions.release_hold(hold.id, OPERATOR)
        await system.all_until(ids, State.SUCCEEDED)


@pytest.mark.parametrize(
    "answer",
    [page(404), page(200, "log in"), reply(302, "Location: https://elsewhere.example/")],
    ids=["404", "login", "302"],
)
async def test_a_page_or_redirect_on_polls_says_nothing_about_the_run(
    system: LiveSystem, provider: StandIn, answer: bytes
) -> None:
    provider.on_poll = lambda _: answer
    async with system.worker(base_url=provider.url, poll_missing_limit=1):
        job_id = await system.enqueue()
        await wait_until(lambda: _is(bool(provider.polls)), "a poll")

        async def is_reported() -> bool:
            beats = await system.store.workers.heartbeats()
            return any("polls of account default" in beat.failures for beat in beats)

        await wait_until(is_reported, "the problem in the heartbeat")
        assert (await system.job(job_id)).state is State.RUNNING
        assert not await system.store.holds.list_all()
        provider.on_poll = result_of
        await system.store.polls.make_due([job_id], 0.0)
        assert (await system.until(job_id)).state is State.SUCCEEDED


async def test_a_run_that_was_lost_and_is_found_again_comes_back_by_itself(
    system: LiveSystem, provider: StandIn
) -> None:
    provider.on_poll = lambda _: reply(404, error="none", code="EXECUTION_NOT_FOUND")
    async with system.worker(base_url=provider.url, poll_missing_limit=2):
        job_id = await system.enqueue()
        parked = await system.until(job_id, State.PARKED)
        assert parked.parked_as == "uncertain"
        provider.on_poll = lambda run: reply(executionId=run, status="processing")
        await system.store.polls.make_due([job_id], 0.0)
        await system.until(job_id, State.RUNNING)
        provider.on_poll = result_of
        assert (await system.until(job_id)).state is State.SUCCEEDED
    assert len(provider.submits) == 1


async def test_a_result_that_comes_late_counts(system: LiveSystem, provider: StandIn) -> None:
    provider.on_poll = lambda run: reply(executionId=run, status="completed")
    async with system.worker(base_url=provider.url):
        job_id = await system.enqueue()
        await wait_until(lambda: _is(len(provider.polls) > 1), "two polls")
        assert (await system.job(job_id)).state is State.RUNNING
        provider.on_poll = result_of
        assert (await system.until(job_id)).state is State.SUCCEEDED


async def test_a_status_nobody_knows_is_on_record(system: LiveSystem, provider: StandIn) -> None:
    provider.on_poll = lambda run: reply(executionId=run, status="Warming Up")
    async with system.worker(base_url=provider.url):
        job_id = await system.enqueue()
        job = await until_job(
            system,
            job_id,
            lambda job: job.attempts[-1:] != () and bool(job.attempts[-1].provider_status),
        )
        assert (job.state, job.attempts[-1].provider_status) == (State.RUNNING, "warming_up")
        provider.on_poll = result_of
        assert (await system.until(job_id)).state is State.SUCCEEDED


async def test_a_429_without_headers_is_followed_by_one_request_a_window(
    system: LiveSystem, provider: StandIn
) -> None:
    provider.on_submit = lambda _: reply(429, "Retry-After: 1", error="slow", retryAfter=1)
    async with system.worker(base_url=provider.url, max_jobs=SLOTS):
        ids = [await system.enqueue(job_id=f"j{n}") for n in range(JOBS)]
        await wait_until(lambda: _is(len(provider.submits) >= 4), "four windows")
        assert len(provider.submits) == 4
        (bucket, *_) = (await system.store.rate_limits.buckets()).values()
        assert bucket.trial_limit == 1
        provider.on_submit = StandIn().on_submit
        jobs = await system.all_until(ids, State.SUCCEEDED)
    assert {job.spent for job in jobs} == {0}


async def test_a_worker_that_cannot_connect_puts_off_no_poll(
    system: LiveSystem, provider: StandIn
) -> None:
    """Its polls were not sent: they count in no history, and stay due for another worker."""
    provider.on_poll = lambda run: reply(executionId=run, status="processing")
    ids = [await system.enqueue(job_id=f"j{n}") for n in range(SLOTS)]
    async with system.worker(base_url=provider.url):
        await system.all_until(ids, State.RUNNING)
    jobs = [await system.job(job_id) for job_id in ids]
    before = [await system.store.polls.history(job) for job in jobs]
    async with system.worker(base_url="http://127.0.0.1:9"):

        async def is_reported() -> bool:
            beats = await system.store.workers.heartbeats()
            return any("cannot connect" in beat.poll_failure for beat in beats)

        await wait_until(is_reported, "the failure in the heartbeat")
        assert [await system.store.polls.history(job) for job in jobs] == before
        provider.on_poll = result_of
        async with system.worker(base_url=provider.url):
            await system.all_until(ids, State.SUCCEEDED)


async def test_the_message_of_a_refused_poll_is_in_no_log_and_no_heartbeat(
    system: LiveSystem, provider: StandIn
) -> None:
    """It may quote the inputs, and `/readyz` shows to anybody what heartbeats say."""
    provider.on_poll = lambda _: reply(403, error="no run of a red car for Alice")
    with capture_logs() as logs:
        async with system.worker(base_url=provider.url):
            await system.enqueue()
            problems: dict[str, str] = {}

            async def is_reported() -> bool:
                for beat in await system.store.workers.heartbeats():
                    problems.update(beat.failures)
                return "polls of account default" in problems

            await wait_until(is_reported, "the problem in the heartbeat")
    assert problems["polls of account default"] == "HTTP_403"
    assert "polls.refused" in {entry["event"] for entry in logs}
    assert "Alice" not in repr(logs) + repr(problems)
