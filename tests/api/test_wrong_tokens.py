"""Wrong bearer tokens: throttled by address, counted, and on record once a burst."""

from collections.abc import AsyncGenerator

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from config.settings import Settings
from config.trusted_proxies import TrustedProxies
from config.values import ApiToken, Role
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.job_factory import JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.api.auth.login_throttle import FREE_FAILURES, MAX_AUDITED_PER_MINUTE
from worker.store import Store

TOKENS = (
    ApiToken("ops", Role.OPERATE, SecretStr("ops-0123456789abcdef")),
    ApiToken("eyes", Role.WATCH, SecretStr("eyes-0123456789abcdef")),
)
GUESSES = 1_000


@pytest.fixture
async def guarded(store: Store, namespace: str, open_api: OpenApi) -> AsyncGenerator[CheckedApi]:
    settings = Settings(
        namespace=namespace, http_port=0, api_tokens=TOKENS, trusted_proxies=TrustedProxies(hops=1)
    )
    async with open_api(store, settings) as api:
        yield api


async def ask(api: CheckedApi, secret: str, address: str) -> int:
    headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-For": address}
    return (await api.call("GET", "/v1/holds", headers=headers)).status


async def test_guesses_are_refused_before_they_are_looked_at(
    guarded: CheckedApi, store: Store
) -> None:
    right = "ops-0123456789abcdef"
    assert await ask(guarded, right, "10.0.0.1") == 200
    with capture_logs() as logs:
        found = [
            await ask(guarded, f"guess-{number}-0123456789", "10.0.0.1")
            for number in range(GUESSES // 5)
        ]
    assert found.count(401) <= FREE_FAILURES + 2
    assert set(found) == {401, 429}
    lines = [line for line in logs if line["event"] == "token.refused"]
    assert 1 <= len(lines) <= MAX_AUDITED_PER_MINUTE
    audited = await latest_audit_entries(store, 99)
    assert [(entry["act"], entry["on"]) for entry in audited] == [
        ("token_refused", "10.0.0.1")
    ] * len(lines)
    assert await ask(guarded, right, "10.0.0.1") == 200, "a token that was right before"
    assert await ask(guarded, "eyes-0123456789abcdef", "10.0.0.1") == 429, "a new one"
    assert await ask(guarded, "eyes-0123456789abcdef", "10.0.0.2") == 200, "of another address"
    await store.metrics.counters.flush(0.0)
    assert (await store.metrics.counters.read())["wrong_tokens|api"] == len(found) + 1


async def test_reads_of_inputs_and_results_are_in_the_access_log(
    guarded: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.succeeded("job")
    for name, reads in (("ops", 1), ("eyes", 0)):
        headers = {"Authorization": f"Bearer {name}-0123456789abcdef"}
        with capture_logs() as logs:
            assert (await guarded.call("GET", "/v1/jobs/job", headers=headers)).status == 200
            assert (await guarded.call("GET", "/v1/jobs", headers=headers)).status == 200
        read = [line for line in logs if line["event"] == "payloads.read"]
        assert [(line["by"], line["job_id"]) for line in read] == [(name, "job")] * reads
    assert REQUEST["inputs"]["prompt"] not in str(logs)
