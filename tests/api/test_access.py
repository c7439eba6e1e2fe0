"""Who may do what: roles with tokens, this machine alone without."""

import re
from collections.abc import AsyncGenerator

import pytest
from pydantic import SecretStr

from config.settings import Settings, SettingsError
from config.values import ApiToken, Role
from tests.api.checked_api import DOCUMENT, REQUEST, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.job_factory import JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.api.handlers.events import CONTENT_TYPE as STREAM
from worker.compose.api import ENDPOINTS, running
from worker.store import Store

SECRETS = {role: f"{role}-0123456789abcdef" for role in Role}
TOKENS = tuple(ApiToken(f"{role}-app", role, SecretStr(secret)) for role, secret in SECRETS.items())


def bearer(role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[role]}"}


@pytest.fixture
async def guarded(store: Store, namespace: str, open_api: OpenApi) -> AsyncGenerator[CheckedApi]:
    settings = Settings(namespace=namespace, http_port=0, api_tokens=TOKENS)
    async with open_api(store, settings) as api:
        yield api


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
@pytest.mark.parametrize("role", Role)
async def test_each_call_takes_its_role(guarded: CheckedApi, endpoint: object, role: Role) -> None:
    (found,) = [e for e in ENDPOINTS if e is endpoint]
    path = re.sub(r"\{\w+\}", "none", found.path)
    method = "HEAD" if found.content_type == STREAM else found.method
    reply = await guarded.call(method, path, headers=bearer(role))
    allowed = found.role is None or role.covers(found.role)
    assert (reply.status != 403) is allowed
    assert reply.status != 401
    if not allowed:
        assert 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
async def test_without_a_token_only_probes_and_the_schema_answer(
    guarded: CheckedApi, endpoint: object
) -> None:
    (found,) = [e for e in ENDPOINTS if e is endpoint]
    reply = await guarded.call(found.method, re.sub(r"\{\w+\}", "none", found.path))
    assert (reply.status == 401) is (found.role is not None)
    assert bool(DOCUMENT["paths"][found.path][found.method.lower()]["security"]) is bool(found.role)


def test_every_path_that_touches_jobs_has_a_role() -> None:
    open_to_all = {e.path for e in ENDPOINTS if e.role is None}
    assert open_to_all == {"/livez", "/readyz", "/openapi.json", "/", "/webhooks/knouds"}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {SECRETS[Role.READ]}",
        SECRETS[Role.READ],
        f"Bearer {SECRETS[Role.READ]}x",
        f"Bearer {SECRETS[Role.READ][:-1]}",
        "Bearer read-app",
        "Bearer \u00e9",
    ],
)
async def test_a_wrong_token_is_unauthorized(guarded: CheckedApi, header: str) -> None:
    reply = await guarded.call("GET", "/v1/jobs", headers={"Authorization": header})
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


async def test_the_scheme_may_be_written_in_any_case(guarded: CheckedApi) -> None:
    headers = {"Authorization": f"bearer {SECRETS[Role.READ]}"}
    assert (await guarded.call("GET", "/v1/jobs", headers=headers)).status == 200


async def test_actions_are_on_record_under_the_tokens_name(
    guarded: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.held("j1")
    reply = await guarded.post("/v1/jobs/j1/release", headers=bearer(Role.OPERATE))
    assert reply.json["events"][-1]["by"] == "operate-app"
    (entry,) = await latest_audit_entries(store, 1)
    assert entry["by"] == "operate-app"
    reply = await guarded.post("/v1/jobs", REQUEST, headers=bearer(Role.ENQUEUE))
    assert reply.json["events"][0]["by"] == "enqueue-app"


async def test_with_tokens_any_host_and_origin_is_served(guarded: CheckedApi) -> None:
    headers = {"Host": "api.example.com", "Origin": "https://app.example.com"}
    reply = await guarded.post("/v1/jobs", REQUEST, headers={**headers, **bearer(Role.ENQUEUE)})
    assert reply.status == 202


async def test_beyond_loopback_nothing_is_served_without_tokens(
    store: Store, namespace: str
) -> None:
    settings = Settings(namespace=namespace, http_host="0.0.0.0", http_port=0)  # noqa: S104
    with pytest.raises(SettingsError, match="KNOUDS_API_TOKENS"):
        async with running(settings, store):
            pass


# Without tokens: a web page in somebody's browser must not get there.


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_origin_can_take_no_action(
    api: CheckedApi, job_factory: JobFactory, headers: dict[str, str]
) -> None:
    await job_factory.queued("j1")
    reply = await api.post("/v1/jobs/j1/cancel", headers=headers)
    assert reply.status == 403
    assert (await api.job("j1"))["state"] == "queued"
    assert (await api.post("/v1/jobs", REQUEST, headers=headers)).status == 403


async def test_our_own_page_can_take_actions(api: CheckedApi) -> None:
    headers = {"Origin": api.url, "Sec-Fetch-Site": "same-origin"}
    assert (await api.post("/v1/jobs", REQUEST, headers=headers)).status == 202


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "10.0.0.5", "[::2]", "a b"])
async def test_a_host_name_pointed_at_this_machine_reads_nothing(
    api: CheckedApi, host: str
) -> None:
    for path in ("/v1/jobs", "/v1/stats", "/"):
        assert (await api.call("GET", path, headers={"Host": host})).status == 403


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1234", "127.0.0.1", "127.1.2.3", "[::1]:8080"]
)
async def test_loopback_has_many_names(api: CheckedApi, host: str) -> None:
    assert (await api.call("GET", "/v1/jobs", headers={"Host": host})).status == 200
