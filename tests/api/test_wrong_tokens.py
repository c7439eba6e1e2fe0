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
from tests.api.cookie_browser import browsing
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


async def test_guesses_are_throttled_counted_and_on_record(
    guarded: CheckedApi, store: Store
) -> None:
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
    await store.metrics.counters.flush(0.0)
    assert (await store.metrics.counters.read())["wrong_tokens|api"] == len(found)


async def test_right_tokens_pass_whatever_their_address_sends(guarded: CheckedApi) -> None:
    """Neither of the two was seen before the guesses, as after a restart of the API."""
    for number in range(20):
        await ask(guarded, f"guess-{number}-0123456789", "10.0.0.1")
    for secret in ("ops-0123456789abcdef", "eyes-0123456789abcdef"):
        assert await ask(guarded, secret, "10.0.0.1") == 200
    assert await ask(guarded, "guess-99-0123456789", "10.0.0.1") == 429
    assert await ask(guarded, "guess-99-0123456789", "10.0.0.2") == 401, "another address"


async def test_a_program_with_an_old_token_delays_nobody_and_is_on_record_once(
    guarded: CheckedApi, store: Store
) -> None:
    replies = set[int]()
    for _ in range(50):
        replies.add(await ask(guarded, "token-of-yesterday", "10.0.0.1"))
        assert await ask(guarded, "eyes-0123456789abcdef", "10.0.0.1") == 200
    assert replies == {401}, "what it has to change, not when to try again"
    assert len(await latest_audit_entries(store, 99)) == 1
    await store.metrics.counters.flush(0.0)
    assert (await store.metrics.counters.read())["wrong_tokens|api"] == 50


async def test_a_form_that_repeats_an_old_token_does_not_close_the_login(
    guarded: CheckedApi,
) -> None:
    async with browsing(guarded.url) as browser:
        for _ in range(10):
            assert (await browser.log_in("token-of-yesterday")).status == 401
        assert (await browser.log_in("ops-0123456789abcdef")).status == 303
        for number in range(4):
            await browser.log_in(f"guess-{number}-0123456789")
        assert (await browser.log_in("ops-0123456789abcdef")).status == 429, "strict on guesses"


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
