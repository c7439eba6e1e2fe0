"""Usage as the client reads it: from the sandbox over HTTP, and from odd bodies."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest

from jobs.lanes import Scope
from jobs.outcomes import CallFailure
from jobs.states import Kind, Mode
from tests.contract.client_calls import provider_at
from worker.provider.knouds.client import KnoudsClient
from worker.provider.knouds.usage import read_usage
from worker.provider.port import ReportedRateLimit, UsagePage
from worker.sandbox import DEFAULT_KEY, SandboxConfig, SettableClock, running


class UsageReader:
    """A sandbox, a client of it, and what the client reports about rate limits."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: KnoudsClient
        self.routes: list[tuple[Scope, int]] = []

    def record_response(
        self, route: Scope, reported: ReportedRateLimit | None, status: int
    ) -> None:
        del reported
        self.routes.append((route, status))

    async def run(self, kind: Kind, target: str, mode: Mode, **options: Any) -> None:
        inputs = json.dumps({"sandbox": options}).encode()
        await self.client.submit(kind, target, "default", inputs, mode)

    async def admin(self, path: str, **body: Any) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.url}/_sandbox/{path}", json=body) as got,
        ):
            assert got.status == 200, await got.text()

    async def page(self, limit: int = 50, offset: int = 0) -> UsagePage | CallFailure:
        return await self.client.usage("default", limit=limit, offset=offset)


@pytest.fixture
async def reader() -> AsyncGenerator[UsageReader]:
    clock = SettableClock()
    async with running(SandboxConfig(), clock=clock) as url:
        opened = UsageReader(url)
        async with provider_at(
            url, key=DEFAULT_KEY, clock=clock.now, rate_limit_observer=opened
        ) as opened.client:
            yield opened


async def test_rows_are_read_with_what_evidence_needs(reader: UsageReader) -> None:
    await reader.run(Kind.MODEL, "suno", Mode.ASYNC, duration_s=60)
    await reader.run(Kind.WORKFLOW, "caption-images", Mode.SYNC, duration_s=0, cost=5)
    page = await reader.page()
    assert isinstance(page, UsagePage)
    assert (page.total, page.is_complete) == (2, True)
    workflow, model = page.rows
    assert (workflow.kind, workflow.targets) == (Kind.WORKFLOW, ("caption-images",))
    assert (workflow.status, workflow.credits, workflow.duration_s) == ("completed", 5, 0)
    assert (model.kind, model.targets, model.status) == (Kind.MODEL, ("suno",), "processing")
    assert model.user_id == "user_sandbox"
    assert model.request_id is not None
    assert model.created_at == 1_800_000_000.0


async def test_the_rate_limit_of_the_route_is_observed(reader: UsageReader) -> None:
    """A 429 says how long to wait, and belongs to a route of its own, not to polls."""
    await reader.admin("limits", route="usage", limit=1, window_s=30)
    assert isinstance(await reader.page(), UsagePage)
    refused = await reader.page()
    assert isinstance(refused, CallFailure)
    assert (refused.http_status, refused.retry_after_s) == (429, 30)
    assert [r for r in reader.routes if r[0] == Scope("default/usage")] == [
        (Scope("default/usage"), 200),
        (Scope("default/usage"), 429),
    ]


@pytest.mark.parametrize(("fault", "status"), [("HTTP_403", 403), ("html_502", 502)])
async def test_a_refused_read_is_a_failure(reader: UsageReader, fault: str, status: int) -> None:
    await reader.admin("faults", fault=fault, match={"route": "usage"})
    refused = await reader.page()
    assert isinstance(refused, CallFailure)
    assert refused.http_status == status


def read(body: object) -> UsagePage | CallFailure:
    return read_usage(200, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize("body", [b"", b"<html>", [], {"rows": None}, {"rows": {}}, {"total": 3}])
def test_a_page_without_rows_is_a_failure_and_never_an_empty_page(body: object) -> None:
    assert isinstance(read(body), CallFailure)


def test_odd_members_count_as_absent_and_cost_no_other_row() -> None:
    odd: dict[str, Any] = {
        "id": 7,
        "userId": ["x"],
        "workflowSlug": 3.5,
        "modelIds": "suno",
        "status": "Timed Out",
        "source": "api-new",
        "creditsCost": "12",
        "durationMs": -1,
        "errorCode": {},
        "requestId": None,
        "createdAt": "yesterday",
        "new": True,
    }
    page = read({"rows": [odd, {"id": 8, "createdAt": "2026-05-08T19:29:55.000Z"}], "total": "?"})
    assert isinstance(page, UsagePage)
    first, second = page.rows
    assert (first.id, first.status, first.kind, first.targets) == (7, "timed_out", None, ())
    assert (first.credits, first.duration_s, first.created_at) == (None, None, None)
    assert second.created_at == 1_778_268_595.0
    assert (page.total, page.is_complete) == (None, True)


def test_a_row_without_an_id_makes_the_page_incomplete() -> None:
    """Such a row cannot be told from others, so nothing may be concluded from its absence."""
    page = read({"rows": [{"id": 1}, {"status": "completed"}, 4, {"id": 1.5}], "total": 4})
    assert isinstance(page, UsagePage)
    assert ([row.id for row in page.rows], page.is_complete) == ([1], False)
