"""Below role `read` nobody sees texts of the provider or of operators, on any route or page.

Each text of theirs that a record can hold carries a marker; every route is read with every role.
"""

from collections.abc import AsyncGenerator

import aiohttp
import msgspec
import pytest
from pydantic import SecretStr

from config.settings import Settings
from config.values import ApiToken, Role
from jobs import transitions
from jobs.breakers import BreakerCause, BreakerError, BreakerState, new_breaker
from jobs.evidence.records import EvidenceFinding, UncertainSubmit
from jobs.holds import CoolDown, Hold, hold_id
from jobs.job import Job, Reason
from jobs.lanes import Scope
from jobs.outcomes import ProviderError
from jobs.states import Mode, State
from jobs.usage import UsageRow
from tests.api.checked_api import REQUEST
from tests.api.job_factory import JobFactory
from tests.dashboard.conftest import OpenPages
from tests.dashboard.page_reader import PageReader
from worker.api.handlers.events import CONTENT_TYPE as STREAM
from worker.compose.api import ENDPOINTS
from worker.dashboard.routes import PAGES
from worker.store import Store
from worker.store.side_writes import NewAuditEntry, SideWrites
from worker.store.webhooks import Orphan, StoredDeliveries
from worker.store.workers import Heartbeat

MARKER = "a-prompt-that-was-quoted"
ROLES = (Role.ENQUEUE, Role.WATCH, Role.READ, Role.OPERATE)
SECRETS = {role: f"{role}-0123456789abcdef" for role in ROLES}
JOBS = ("dead", "held", "uncertain", "stuck", "retrying", "manual", "running", "queued")
QUERIES = {"/v1/groups": ("?state=parked", "?state=dead"), "/v1/jobs/{id}/wait": ("?timeout_s=0",)}
LANE = Scope("default/model/gpt-image-2")


def quoting(code: str, status: int) -> tuple[ProviderError, Reason]:
    """An error of the provider that quotes the inputs, and the reason it becomes."""
    error = ProviderError(code, f"bad: {MARKER}", status, provider_status=MARKER)
    return error, Reason(code=code, http_status=status, message=error.message, action="Do it")


async def fill(job_factory: JobFactory) -> None:
    """Write the marker wherever the provider or an operator can write a text."""
    store, now = job_factory.store, job_factory.clock.now()
    error, reason = quoting("INVALID_INPUTS", 400)
    await job_factory.submitting("dead")
    await job_factory.transition(
        "dead", lambda job: transitions.dead_letter(job, now, error, reason)
    )
    hold = Hold(
        id=hold_id(LANE, "INSUFFICIENT_CREDITS"),
        scope=LANE,
        code="INSUFFICIENT_CREDITS",
        created_at=now,
        message=MARKER,
        note=MARKER,
        action="Top up",
    )
    await store.holds.place(hold)
    refused, why = quoting("INSUFFICIENT_CREDITS", 402)
    await job_factory.submitting("held")
    parked = msgspec.structs.replace(why, hold_id=hold.id)
    await job_factory.transition(
        "held", lambda job: transitions.park_refused(job, now, refused, parked)
    )
    await job_factory.submitting("uncertain")
    row = UsageRow(id=1, status=MARKER, targets=(MARKER,))
    submit = UncertainSubmit(
        number=1,
        mode=Mode.ASYNC,
        sent_at=now,
        finding=EvidenceFinding.AMBIGUOUS,
        note=MARKER,
        rows=(row,),
    )

    def lost(job: Job) -> Job:
        return transitions.park_uncertain(job, now, why=MARKER, http_status=502)

    await job_factory.transition(
        "uncertain", lambda job: msgspec.structs.replace(lost(job), uncertain_submits=(submit,))
    )
    orphan = Orphan(
        execution_id="exec-9",
        event="x",
        received_at=now + 1,
        targets=("model/gpt-image-2",),
        status=MARKER,
    )
    await store.webhooks.keep_orphan(orphan, StoredDeliveries("exec-9", (), (), False), None)
    await job_factory.running("stuck")
    await job_factory.transition(
        "stuck",
        lambda job: transitions.park_stuck(job, now, next_poll_at=now + 60, poll_failure=MARKER),
    )
    await job_factory.running("retrying")
    failed, _ = quoting("EXECUTION_FAILED", 500)
    await job_factory.transition(
        "retrying", lambda job: transitions.retry(job, now, failed, due_at=now + 60)
    )
    await job_factory.queued("manual")
    await job_factory.transition(
        "manual", lambda job: transitions.park_manual(job, now, by="ann", note=MARKER)
    )
    await job_factory.running("running")
    await job_factory.transition(
        "running", lambda job: transitions.record_status(job, now, MARKER, next_poll_at=now + 60)
    )
    queued = await job_factory.queued("queued")
    given = SideWrites(metadata=msgspec.json.encode({"customer": MARKER}))
    flagged = msgspec.structs.replace(queued, has_metadata=True)
    await job_factory.transition("queued", lambda _: flagged, given)
    await fill_gates(store, now)


async def fill_gates(store: Store, now: float) -> None:
    await store.holds.place_cool_down(CoolDown(Scope("default"), now + 600, MARKER))
    for cause in BreakerCause:
        facts = {
            "state": BreakerState.OPEN,
            "opened_at": now,
            "failed_at": now,
            "next_probe_at": now + 600,
            "failures": 9,
            "error": BreakerError("EXECUTION_FAILED", 500, MARKER),
            "call_error": BreakerError("HTTP_500", 500, f"again {MARKER}"),
        }
        await store.breakers.change(
            new_breaker(LANE, cause).key,
            lambda old, facts=facts: msgspec.structs.replace(old, **facts),  # type: ignore[misc]
        )
    await store.workers.record_heartbeat(
        Heartbeat(
            id="w",
            host="h",
            pid=1,
            started_at=now,
            seen_at=now,
            polls_failing_since=now,
            poll_failure=MARKER,
            unproved_accounts=("default",),
        )
    )
    await store.audit.record(NewAuditEntry(now, "ann", "release", "dead", MARKER, 1))


@pytest.fixture
async def pages(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings
) -> AsyncGenerator[PageReader]:
    tokens = tuple(ApiToken(role, role, SecretStr(secret)) for role, secret in SECRETS.items())
    await fill(job_factory)
    guarded = settings.model_copy(update={"api_tokens": tokens})
    async with open_pages(job_factory.store, guarded) as opened:
        yield opened


def paths_of(path: str) -> list[str]:
    """The path with every job's id, and with the queries that it needs."""
    named = [path.replace("{id}", job) for job in JOBS] if "{id}" in path else [path]
    named = [one.replace("{file:inputs|result}", "inputs") for one in named]
    return [one + query for one in named for query in QUERIES.get(path, ("",))]


async def read_all(pages: PageReader, role: Role) -> dict[str, str]:
    """What each route answers a token of the role, and each page its session."""
    headers = {"Authorization": f"Bearer {SECRETS[role]}"}
    found: dict[str, str] = {}
    async with aiohttp.ClientSession(headers=headers) as http:
        for endpoint in ENDPOINTS:
            if endpoint.method == "GET" and endpoint.content_type != STREAM:
                for path in paths_of(endpoint.path):
                    async with http.get(pages.url + path) as reply:
                        found[f"GET {path}"] = await reply.text()
        again = {**REQUEST, "id": "dead"}
        async with http.post(f"{pages.url}/v1/jobs", json=again) as reply:
            found["POST /v1/jobs"] = await reply.text()
    pages.http.cookie_jar.clear()
    await pages.post("/login", [("token", SECRETS[role]), ("next", "/")])
    for route in PAGES:
        if route.method == "GET":
            for path in paths_of(route.path):
                found[f"page {path}"] = (await pages.get(path)).source
    return found


@pytest.mark.parametrize("role", [Role.ENQUEUE, Role.WATCH])
async def test_no_route_shows_texts_of_others_below_read(pages: PageReader, role: Role) -> None:
    shown = await read_all(pages, role)
    assert [name for name, text in shown.items() if MARKER in text] == []


async def test_role_read_sees_them_where_they_belong(pages: PageReader) -> None:
    """So the test above looks at places that have something to hide."""
    shown = await read_all(pages, Role.READ)
    wanted = {
        *(f"GET /v1/jobs/{job}" for job in JOBS),
        *(f"GET /v1/jobs/{job}/why" for job in JOBS if job != "running"),
        *(f"page /jobs/{job}" for job in JOBS),
        *("GET /v1/jobs", "GET /v1/groups?state=parked", "GET /v1/groups?state=dead"),
        *("GET /v1/holds", "GET /v1/breakers", "GET /v1/stats", "GET /v1/audit"),
        *("page /", "page /holds", "page /parked", "page /dead", "page /audit"),
        "POST /v1/jobs",
    }
    assert {name for name, text in shown.items() if MARKER in text} >= wanted


async def test_below_read_codes_and_our_own_words_stay(pages: PageReader) -> None:
    shown = await read_all(pages, Role.WATCH)
    assert "INSUFFICIENT_CREDITS" in shown["GET /v1/holds"]
    assert "Top up" in shown["GET /v1/holds"]
    assert "[hidden: needs role read]" in shown["GET /v1/jobs/dead"]
    assert State.DEAD in shown["GET /v1/jobs/dead"]


async def test_events_carry_codes_and_no_texts(pages: PageReader) -> None:
    headers = {"Authorization": f"Bearer {SECRETS[Role.WATCH]}", "Last-Event-ID": "0-1"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{pages.url}/v1/events") as stream,
    ):
        text = b""
        while b"job" not in text or b"INVALID_INPUTS" not in text:
            text += await stream.content.readany()
    assert MARKER.encode() not in text
