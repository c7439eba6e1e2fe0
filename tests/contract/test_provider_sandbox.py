"""The client against the sandbox: each fault it can inject is read as documented."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest

from jobs.error_table import Disposition, ErrorTable
from jobs.lanes import Scope
from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    LostCause,
    PollOutcome,
    Refused,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
    SubmitOutcome,
)
from jobs.states import Kind, Mode
from tests.contract.client_calls import SHORT_S, no_answer, provider_at
from worker.provider.knouds.client import KnoudsClient, Timeouts
from worker.provider.knouds.error_rows import ERROR_RULES
from worker.provider.port import CancelAccepted, Identity, ReportedRateLimit
from worker.sandbox import DEFAULT_KEY, SandboxConfig, SettableClock, running

TIMEOUTS = Timeouts(submit_s=2, sync_s=2, poll_s=2)


class FrozenSandbox:
    """A sandbox with a frozen clock, and a client of it."""

    def __init__(self, url: str, provider: KnoudsClient, clock: SettableClock) -> None:
        self.url = url
        self.provider = provider
        self.clock = clock
        self.rate_limits: list[tuple[Scope, ReportedRateLimit]] = []

    def record_response(
        self, route: Scope, reported: ReportedRateLimit | None, status: int
    ) -> None:
        del status
        if reported is not None:
            self.rate_limits.append((route, reported))

    async def submit(
        self,
        target: str = "suno",
        mode: Mode = Mode.ASYNC,
        kind: Kind = Kind.MODEL,
        **options: Any,
    ) -> SubmitOutcome:
        inputs = json.dumps({"sandbox": {"label": "it", **options}}).encode()
        return await self.provider.submit(kind, target, "default", inputs, mode)

    async def start(self, **options: Any) -> str:
        answer = await self.submit(**options)
        assert isinstance(answer, Accepted)
        return answer.execution_id

    async def poll(self, execution_id: str) -> PollOutcome:
        return await self.provider.poll("default", execution_id)

    async def started(self) -> int:
        """How many runs the sandbox started, paid or not."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/_sandbox/ledger") as got:
            ledger = await got.json()
        return int(ledger["labels"]["it"]["started"])

    async def finish(self) -> None:
        async with aiohttp.ClientSession() as http:
            await http.post(f"{self.url}/_sandbox/finish", json={})


@pytest.fixture
async def sandbox() -> AsyncGenerator[FrozenSandbox]:
    clock = SettableClock()
    async with running(SandboxConfig(), clock=clock) as url:
        opened = FrozenSandbox(url, provider_at(url), clock)
        async with provider_at(
            url,
            key=DEFAULT_KEY,
            timeouts=TIMEOUTS,
            clock=clock.now,
            rate_limit_observer=opened,
        ) as opened.provider:
            yield opened


async def test_an_async_run_is_accepted_polled_and_finished(sandbox: FrozenSandbox) -> None:
    execution_id = await sandbox.start(duration_s=9, cost=3, result={"text": "done"})
    assert await sandbox.poll(execution_id) == StillRunning("processing")
    await sandbox.finish()
    answer = await sandbox.poll(execution_id)
    assert isinstance(answer, Finished)
    assert json.loads(answer.result) == {"text": "done"}
    assert (answer.cost, answer.execution_id) == (3.0, execution_id)


async def test_a_sync_run_is_finished_at_once(sandbox: FrozenSandbox) -> None:
    answer = await sandbox.submit("kling-2-5", Mode.SYNC, duration_s=0, result={"videos": ["u"]})
    assert isinstance(answer, Finished)
    assert json.loads(answer.result) == {"videos": ["u"]}
    assert answer.cost == 35.0


async def test_a_workflow_runs_like_a_model(sandbox: FrozenSandbox) -> None:
    assert isinstance(await sandbox.submit("my-pipeline", kind=Kind.WORKFLOW), Accepted)
    assert {route for route, _ in sandbox.rate_limits} == {"default/workflow"}


CODES = [
    ("INVALID_INPUTS", Disposition.DEAD),
    ("MODEL_NOT_FOUND", Disposition.DEAD),
    ("LEGACY_KEY_RETIRED", Disposition.PARK),
    ("INSUFFICIENT_CREDITS", Disposition.PARK),
    ("grant_exhausted", Disposition.PARK),
    ("CAPABILITY_DENIED", Disposition.PARK),
    ("SCOPE_DENIED", Disposition.PARK),
    ("CAPABILITY_ABOVE_CEILING", Disposition.PARK),
    ("RATE_LIMIT_EXCEEDED", Disposition.WAIT),
    ("EXECUTION_FAILED", Disposition.RETRY),
    ("PROVIDER_SUBMIT_FAILED", Disposition.RETRY),
    ("ASYNC_NOT_SUPPORTED", Disposition.SYNC),
]


@pytest.mark.parametrize(("code", "disposition"), CODES)
async def test_a_refusal_is_classified_by_its_code(
    sandbox: FrozenSandbox, code: str, disposition: Disposition
) -> None:
    answer = await sandbox.submit(fault=code)
    assert isinstance(answer, Refused)
    assert answer.error.code == code
    assert answer.error.message
    assert ErrorTable(ERROR_RULES).rule_for_submit(answer.error).disposition is disposition
    assert await sandbox.started() == 0


async def test_context_of_a_refusal_is_kept(sandbox: FrozenSandbox) -> None:
    denied = await sandbox.submit(fault="CAPABILITY_DENIED")
    assert isinstance(denied, Refused)
    assert denied.error.required_capability == "model:run"
    upstream = await sandbox.submit(fault="PROVIDER_SUBMIT_FAILED")
    assert isinstance(upstream, Refused)
    assert upstream.error.provider_status == "503"
    slow = await sandbox.submit(fault="RATE_LIMIT_EXCEEDED", retry_after=7)
    assert isinstance(slow, Refused)
    assert slow.error.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("fault", "starts"),
    [
        ("html_502", 0),
        ("html_504", 0),
        ("HTTP_502", 0),
        ("truncated_json", 1),
        ("html_200", 1),
        ("empty_body", 1),
        ("id_missing", 1),
        ("drop_before", 0),
        ("drop_after", 1),
    ],
)
async def test_a_response_that_cannot_be_trusted_is_uncertain_and_sent_once(
    sandbox: FrozenSandbox, fault: str, starts: int
) -> None:
    answer = await sandbox.submit(fault=fault)
    assert isinstance(answer, Lost) or (
        isinstance(answer, Refused)
        and ErrorTable(ERROR_RULES).rule_for_submit(answer.error).disposition
        is Disposition.UNCERTAIN
    )
    assert await sandbox.started() == starts


@pytest.mark.parametrize(("fault", "starts"), [("hang", 1), ("hang_before", 0)])
async def test_an_answer_that_never_comes_is_lost(
    sandbox: FrozenSandbox, fault: str, starts: int
) -> None:
    short = Timeouts(submit_s=SHORT_S)
    async with provider_at(
        sandbox.url, key=DEFAULT_KEY, timeouts=short, connect_s=SHORT_S
    ) as sandbox.provider:
        assert await sandbox.submit(fault=fault) == Lost(
            f"sent, then {no_answer(sandbox.url)}", cause=LostCause.TIMEOUT
        )
    assert await sandbox.started() == starts


async def test_unusual_but_valid_responses_are_accepted(sandbox: FrozenSandbox) -> None:
    assert isinstance(await sandbox.submit(fault="accepted_202"), Accepted)
    assert isinstance(await sandbox.submit(fault="sync_answer", duration_s=0), Finished)


@pytest.mark.parametrize("error", ["object", "string"])
async def test_a_failed_run_says_why(sandbox: FrozenSandbox, error: str) -> None:
    execution_id = await sandbox.start(
        fault="fails", code="PROVIDER_RESPONSE_INCOMPLETE", message="no", error=error
    )
    await sandbox.finish()
    answer = await sandbox.poll(execution_id)
    assert isinstance(answer, RunFailed)
    assert (answer.error.code, answer.error.message) == ("PROVIDER_RESPONSE_INCOMPLETE", "no")


@pytest.mark.parametrize("result", [{}, None, ""])
async def test_a_run_without_a_result_is_lost(sandbox: FrozenSandbox, result: object) -> None:
    execution_id = await sandbox.start(fault="no_result", result=result)
    await sandbox.finish()
    assert await sandbox.poll(execution_id) == Lost("completed without a usable result", 200)


async def test_a_result_may_come_later_than_the_end(sandbox: FrozenSandbox) -> None:
    execution_id = await sandbox.start(poll={"fault": "no_result", "times": 2})
    assert isinstance(await sandbox.poll(execution_id), StillRunning)
    await sandbox.finish()
    for _ in range(2):
        assert await sandbox.poll(execution_id) == Lost("completed without a usable result", 200)
    assert isinstance(await sandbox.poll(execution_id), Finished)


@pytest.mark.parametrize(
    ("poll", "kind"),
    [
        ({"fault": "EXECUTION_NOT_FOUND"}, RunMissing),
        ({"fault": "status_unknown"}, StillRunning),
        ({"fault": "html_503"}, CallFailure),
        ({"fault": "HTTP_401"}, CallFailure),
        ({"fault": "RATE_LIMIT_EXCEEDED"}, CallFailure),
        ({"fault": "truncated_json"}, CallFailure),
        ({"fault": "empty_body"}, CallFailure),
        ({"fault": "drop_before"}, CallFailure),
    ],
)
async def test_a_failed_poll_is_no_end_of_a_run(
    sandbox: FrozenSandbox, poll: dict[str, Any], kind: type[PollOutcome]
) -> None:
    execution_id = await sandbox.start(poll=poll)
    assert isinstance(await sandbox.poll(execution_id), kind)


async def test_a_cancel_is_accepted_and_a_poll_says_how_it_ended(sandbox: FrozenSandbox) -> None:
    execution_id = await sandbox.start(duration_s=9, cancel_s=0)
    assert isinstance(await sandbox.provider.cancel("default", execution_id), CancelAccepted)
    assert await sandbox.poll(execution_id) == RunCancelled()


async def test_a_cancelled_run_may_have_finished_first(sandbox: FrozenSandbox) -> None:
    execution_id = await sandbox.start(
        duration_s=9, cancel_s=0, cancel={"fault": "cancel_finished"}, result={"a": 1}
    )
    await sandbox.provider.cancel("default", execution_id)
    answer = await sandbox.poll(execution_id)
    assert isinstance(answer, RunCancelled)
    assert answer.result is not None
    assert json.loads(answer.result) == {"a": 1}


async def test_a_cancel_may_be_refused_or_find_nothing(sandbox: FrozenSandbox) -> None:
    execution_id = await sandbox.start(cancel={"fault": "cancel_refused"})
    refused = await sandbox.provider.cancel("default", execution_id)
    assert isinstance(refused, CallFailure)
    assert refused.http_status == 409
    assert isinstance(await sandbox.provider.cancel("default", "none"), RunMissing)


async def test_whose_key_it_is(sandbox: FrozenSandbox) -> None:
    identity = await sandbox.provider.whoami("default")
    assert identity == Identity("user_sandbox", "user", "business", True, "example.com")


async def test_the_remaining_rate_limit_of_a_route_goes_down(sandbox: FrozenSandbox) -> None:
    await sandbox.start()
    await sandbox.start()
    reported = [limits for route, limits in sandbox.rate_limits if route == "default/model"]
    assert [limits.remaining for limits in reported] == [999, 998]
    assert reported[0].limit == 1000
    assert reported[0].reset_at is not None
    assert 0 <= reported[0].reset_at - sandbox.clock.now() <= 60
