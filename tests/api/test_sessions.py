"""Operators log in with a token and get a session; every change needs its page's token."""

import hashlib
import re
from collections.abc import AsyncGenerator

import pytest
from pydantic import SecretStr

from config.settings import Settings
from config.trusted_proxies import TrustedProxies, parse_trusted_proxies
from config.values import ApiToken, Role
from tests.api.checked_api import keys_like
from tests.api.conftest import OpenApi
from tests.api.cookie_browser import CookieBrowser, browsing
from tests.api.job_factory import JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.api.auth.access import COOKIE
from worker.api.auth.page_guard import safe_redirect_path
from worker.api.auth.sessions import Sessions, csrf_of
from worker.api.auth.tokens import ApiTokens
from worker.clock import SystemClock
from worker.store import Store

SECRETS = {role: f"{role}-0123456789abcdef" for role in Role}
TOKENS = tuple(ApiToken(f"{role}-app", role, SecretStr(secret)) for role, secret in SECRETS.items())


@pytest.fixture
def guarded(namespace: str) -> Settings:
    return Settings(namespace=namespace, http_port=0, api_tokens=TOKENS)


def behind(settings: Settings, trusted: str) -> Settings:
    """The same settings behind proxies."""
    found = parse_trusted_proxies(trusted) if trusted else TrustedProxies()
    return settings.model_copy(update={"trusted_proxies": found})


@pytest.fixture
async def browser(
    store: Store, guarded: Settings, open_api: OpenApi
) -> AsyncGenerator[CookieBrowser]:
    async with open_api(store, guarded) as api, browsing(api.url) as found:
        yield found


async def test_a_right_token_opens_a_session_in_a_cookie_that_no_script_reads(
    browser: CookieBrowser,
) -> None:
    reply = await browser.log_in(SECRETS[Role.READ], "/jobs?state=dead")
    assert (reply.status, reply.headers["Location"]) == (303, "/jobs?state=dead")
    cookie = reply.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert len(browser.session) >= 43  # 256 bits
    assert (await browser.get("/v1/stats")).status == 200


async def test_the_cookie_is_secure_where_a_trusted_proxy_says_https(
    store: Store, guarded: Settings, open_api: OpenApi
) -> None:
    form = {"token": SECRETS[Role.READ]}
    for proto, is_secure in (("https", True), ("https, http", False), ("http", False)):
        async with open_api(store, behind(guarded, "1")) as api, browsing(api.url) as browser:
            reply = await browser.post("/login", form, headers={"X-Forwarded-Proto": proto})
            assert ("Secure" in reply.headers["Set-Cookie"]) is is_secure


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
async def test_an_untrusted_proxy_is_not_believed(
    store: Store, guarded: Settings, open_api: OpenApi, trusted: str
) -> None:
    form = {"token": SECRETS[Role.READ]}
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    async with open_api(store, behind(guarded, trusted)) as api, browsing(api.url) as browser:
        reply = await browser.post("/login", form, headers=headers)
        assert "Secure" not in reply.headers["Set-Cookie"]
    assert (await latest_audit_entries(store, 1))[0]["on"] == "127.0.0.1"


async def test_a_wrong_token_opens_nothing(browser: CookieBrowser) -> None:
    reply = await browser.log_in("read-0123456789abcdeg")
    assert reply.status == 401
    assert not browser.session
    assert "read-0123456789abcdeg" not in reply.body.decode()


async def test_each_login_makes_a_new_session_and_ends_the_old_one(browser: CookieBrowser) -> None:
    await browser.log_in(SECRETS[Role.READ])
    old = browser.session
    await browser.log_in(SECRETS[Role.OPERATE])
    assert browser.session != old
    async with browsing(browser.url) as thief:
        assert (await thief.get("/v1/stats", {"Cookie": f"{COOKIE}={old}"})).status == 401


async def test_a_session_that_nobody_made_is_none(browser: CookieBrowser) -> None:
    reply = await browser.get("/v1/stats", {"Cookie": f"{COOKIE}=made-up"})
    assert reply.status == 401


async def test_who_can_write_to_redis_makes_no_session(
    browser: CookieBrowser, store: Store
) -> None:
    """Not even from one that is there: its proof is of its own secret alone."""
    await browser.log_in(SECRETS[Role.OPERATE])
    (session,) = await keys_like(store, f"{store.keys.namespace}:session:*")
    kept = await store.client.call("GET", session)
    forged = store.keys.session(hashlib.sha256(b"made-up").hexdigest())
    await store.client.call("SET", forged, kept)
    async with browsing(browser.url) as forger:
        cookie = {"Cookie": f"{COOKIE}=made-up"}
        assert (await forger.get("/v1/stats", cookie)).status == 401


async def test_a_logout_ends_the_session(browser: CookieBrowser) -> None:
    await browser.log_in(SECRETS[Role.WATCH])
    secret = browser.session
    assert (await browser.post("/logout")).status == 403, "without the CSRF token"
    reply = await browser.post("/logout", {"csrf": csrf_of(secret)})
    assert (reply.status, reply.headers["Location"]) == (303, "/login")
    assert (await browser.get("/v1/stats", {"Cookie": f"{COOKIE}={secret}"})).status == 401


async def test_redis_knows_no_session_secret_and_no_token(
    browser: CookieBrowser, store: Store
) -> None:
    await browser.log_in(SECRETS[Role.OPERATE])
    keys = await keys_like(store, f"{store.keys.namespace}:*")
    values = [await store.client.call("DUMP", key) for key in keys]
    (session,) = [key for key in keys if b":session:" in key]
    kept = await store.client.call("GET", session)
    for secret in (browser.session, csrf_of(browser.session), SECRETS[Role.OPERATE]):
        assert secret.encode() not in kept
        assert not [key for key in keys if secret.encode() in key]
        assert not [value for value in values if secret.encode() in value]
    assert 0 < await store.client.call("TTL", session) <= 12 * 3600


async def test_use_prolongs_a_session(browser: CookieBrowser, store: Store) -> None:
    await browser.log_in(SECRETS[Role.READ])
    (session,) = await keys_like(store, f"{store.keys.namespace}:session:*")
    await store.client.call("EXPIRE", session, 60)
    await browser.get("/v1/stats")
    assert await store.client.call("TTL", session) > 11 * 3600


async def test_a_token_that_is_taken_out_or_changed_ends_its_sessions(
    store: Store, guarded: Settings, open_api: OpenApi
) -> None:
    async with open_api(store, guarded) as api, browsing(api.url) as browser:
        await browser.log_in(SECRETS[Role.OPERATE])
        cookie = {"Cookie": f"{COOKIE}={browser.session}"}
    changed = ApiToken("operate-app", Role.OPERATE, SecretStr("another-0123456789abcdef"))
    for tokens in (TOKENS[:-1], (*TOKENS[:-1], changed)):
        settings = guarded.model_copy(update={"api_tokens": tokens})
        async with open_api(store, settings) as api, browsing(api.url) as browser:
            assert (await browser.get("/v1/stats", cookie)).status == 401


async def test_a_session_has_the_role_its_token_has_now(
    store: Store, guarded: Settings, open_api: OpenApi
) -> None:
    async with open_api(store, guarded) as api, browsing(api.url) as browser:
        await browser.log_in(SECRETS[Role.OPERATE])
        cookie, csrf = f"{COOKIE}={browser.session}", csrf_of(browser.session)
    less = ApiToken("operate-app", Role.WATCH, SecretStr(SECRETS[Role.OPERATE]))
    settings = guarded.model_copy(update={"api_tokens": (less,)})
    async with open_api(store, settings) as api, browsing(api.url) as browser:
        headers = {"Cookie": cookie, "X-CSRF-Token": csrf}
        assert (await browser.get("/v1/stats", headers)).status == 200
        hold = {"scope": "default"}
        assert (await browser.send("/v1/holds", hold, headers)).status == 403


# Forged requests.


async def test_with_a_cookie_an_action_needs_the_csrf_token(
    browser: CookieBrowser, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1")
    await browser.log_in(SECRETS[Role.OPERATE])
    cancel_path, csrf = "/v1/jobs/j1/cancel", csrf_of(browser.session)
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": csrf[:-1]}, {"X-CSRF-Token": "\xe9"}):
        assert (await browser.send(cancel_path, {}, wrong)).status == 403
    cross = {"X-CSRF-Token": csrf, "Sec-Fetch-Site": "cross-site"}
    assert (await browser.send(cancel_path, {}, cross)).status == 403
    reply = await browser.send(cancel_path, {}, {"X-CSRF-Token": csrf})
    assert (reply.status, reply.json["events"][-1]["by"]) == (200, "operate-app")


async def test_the_csrf_token_of_another_session_does_not_do(browser: CookieBrowser) -> None:
    await browser.log_in(SECRETS[Role.OPERATE])
    other = csrf_of(browser.session)
    await browser.log_in(SECRETS[Role.OPERATE])
    hold = {"scope": "default"}
    assert (await browser.send("/v1/holds", hold, {"X-CSRF-Token": other})).status == 403


async def test_a_bearer_needs_no_csrf_token_even_beside_a_cookie(browser: CookieBrowser) -> None:
    await browser.log_in(SECRETS[Role.WATCH])
    headers = {"Authorization": f"Bearer {SECRETS[Role.OPERATE]}"}
    assert (await browser.send("/v1/holds", {"scope": "default"}, headers)).status == 201


async def test_a_cookie_of_a_small_role_can_take_no_action(
    browser: CookieBrowser, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1")
    await browser.log_in(SECRETS[Role.READ])
    headers = {"X-CSRF-Token": csrf_of(browser.session)}
    assert (await browser.send("/v1/jobs/j1/cancel", {}, headers)).status == 403


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}]
)
async def test_another_site_cannot_log_somebody_in(
    browser: CookieBrowser, headers: dict[str, str]
) -> None:
    reply = await browser.post("/login", {"token": SECRETS[Role.READ]}, headers)
    assert reply.status == 403
    assert not browser.session


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "", "/login", "/a\nb"],
)
async def test_after_a_login_nobody_is_sent_away(browser: CookieBrowser, wanted: str) -> None:
    assert safe_redirect_path(wanted) == "/"
    reply = await browser.log_in(SECRETS[Role.READ], wanted)
    assert reply.headers["Location"] == "/"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"x", 415),
        ("application/x-www-form-urlencoded", b"\xff", 400),
        ("application/x-www-form-urlencoded", b"a&" * 2_001, 400),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(
    browser: CookieBrowser, kind: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": kind}
    async with browser.http.post(f"{browser.url}/login", data=body, headers=headers) as answer:
        assert answer.status == status


# Without tokens there is nothing to log in to.


async def test_without_tokens_a_login_goes_on(
    store: Store, settings: Settings, open_api: OpenApi
) -> None:
    async with open_api(store, settings) as api, browsing(api.url) as browser:
        reply = await browser.log_in("whatever", "/jobs")
        assert (reply.status, reply.headers["Location"]) == (303, "/jobs")
        assert not browser.session


# Payloads.


@pytest.mark.parametrize("role", [Role.WATCH, Role.READ, Role.OPERATE])
async def test_inputs_and_results_are_for_roles_that_may_see_them(
    browser: CookieBrowser, job_factory: JobFactory, role: Role
) -> None:
    await job_factory.succeeded("j1", b'{"url":"https://x/secret"}')
    await browser.log_in(SECRETS[role])
    for path in ("/v1/jobs/j1", "/v1/jobs/j1/wait"):
        job = (await browser.get(path)).json
        seen = role is not Role.WATCH
        assert job["payloads_hidden"] is not seen
        assert (job["inputs"] is not None, job["result"] is not None) == (seen, seen)
    for path in ("/v1/jobs/j1", "/v1/jobs", "/v1/jobs/j1/why", "/v1/groups", "/v1/stats"):
        reply = await browser.get(path)
        assert reply.status == 200
        if role is Role.WATCH:
            assert "a cat" not in reply.body.decode()
            assert "secret" not in reply.body.decode()


async def test_who_only_enqueues_gets_no_result_by_asking_again(browser: CookieBrowser) -> None:
    headers = {"Authorization": f"Bearer {SECRETS[Role.ENQUEUE]}"}
    job_request = {"kind": "model", "target": "suno", "inputs": {"prompt": "x"}, "id": "j1"}
    first = await browser.send("/v1/jobs", job_request, headers)
    assert (first.status, first.json["inputs"]) == (202, {"prompt": "x"})
    again = await browser.send("/v1/jobs", job_request, headers)
    assert again.status == 200
    assert set(again.json) == {"id", "state", "created_at", "est_cost"}, "of its own request"


# Their end, and who ends them.


async def test_a_session_ends_after_seven_days_however_it_is_used(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SystemClock()
    now = at = clock.now()

    def time_is(_: SystemClock) -> float:
        return at

    monkeypatch.setattr(SystemClock, "now", time_is)
    sessions = Sessions(store.sessions, ApiTokens(TOKENS, clock), clock)
    session = await sessions.open(TOKENS[0])
    (key,) = await keys_like(store, f"{store.keys.namespace}:session:*")
    for hours in range(6, 7 * 24, 6):
        at = now + hours * 3600
        await store.client.call("EXPIRE", key, 6 * 3600)
        assert await sessions.find(session.secret) is not None
        left_s = await store.client.call("TTL", key)
        assert left_s <= min(12 * 3600, (7 * 24 - hours) * 3600 + 1)
    at = now + 7 * 24 * 3600 + 1
    assert await sessions.find(session.secret) is None
    assert await sessions.list_all() == []


async def test_operators_see_who_is_logged_in_and_log_them_out(
    store: Store, guarded: Settings, open_api: OpenApi
) -> None:
    operator = {"Authorization": f"Bearer {SECRETS[Role.OPERATE]}"}
    async with open_api(store, guarded) as api, browsing(api.url) as browser:
        await browser.log_in(SECRETS[Role.WATCH])
        (found,) = (await api.call("GET", "/v1/sessions", headers=operator)).json["items"]
        assert (found["token"], found["client"]) == ("watch-app", "127.0.0.1")
        assert browser.session not in str(found)
        revoke = f"/v1/sessions/{found['id']}/revoke"
        assert (await api.post(revoke, {"note": "lost"}, headers=operator)).status == 200
        assert (await browser.get("/v1/stats")).status == 401
        assert (await api.post(revoke, {}, headers=operator)).status == 404
        assert (await api.call("GET", "/v1/sessions", headers=operator)).json["items"] == []
    (entry, *_) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"], entry["note"]) == ("revoke_session", "watch-app", "lost")


async def test_behind_tls_the_cookie_is_of_this_host_alone(
    store: Store, guarded: Settings, open_api: OpenApi
) -> None:
    proxied = guarded.model_copy(update={"trusted_proxies": TrustedProxies(hops=1)})
    forwarded = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    async with open_api(store, proxied) as api, browsing(api.url) as browser:
        form = {"token": SECRETS[Role.READ], "next": "/"}
        reply = await browser.post("/login", form, forwarded)
        assert reply.headers["Set-Cookie"].startswith("__Host-knouds_session=")
        assert "Secure" in reply.headers["Set-Cookie"]
        assert reply.headers["Strict-Transport-Security"].startswith("max-age=")
        secret = reply.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
        for name, status in (("__Host-knouds_session", 200), ("knouds_session", 401)):
            headers = forwarded | {"Cookie": f"{name}={secret}"}
            assert (await browser.get("/v1/stats", headers)).status == status
        plain = await browser.get("/livez")
        assert "Strict-Transport-Security" not in plain.headers


# On record.


async def test_logins_good_and_bad_are_on_record(browser: CookieBrowser, store: Store) -> None:
    await browser.log_in("wrong-0123456789abcdef")
    await browser.log_in(SECRETS[Role.READ])
    await browser.post("/logout", {"csrf": csrf_of(browser.session)})
    entries = [
        (entry["act"], entry["by"], entry["on"]) for entry in await latest_audit_entries(store, 9)
    ]
    assert entries == [
        ("logout", "read-app", "127.0.0.1"),
        ("login", "read-app", "127.0.0.1"),
        ("login_failed", "nobody", "127.0.0.1"),
    ]


async def test_wrong_tokens_are_slowed_and_a_right_one_waits_with_them_not_for_long(
    browser: CookieBrowser, store: Store
) -> None:
    statuses = [(await browser.log_in(f"wrong-0123456789abcd{n}")).status for n in range(8)]
    assert statuses[:3] == [401] * 3
    assert statuses[-1] == 429
    reply = await browser.log_in(SECRETS[Role.READ])
    assert reply.status == 429
    assert 0 < int(reply.headers["Retry-After"]) <= 60
    failed = [e for e in await latest_audit_entries(store, 99) if e["act"] == "login_failed"]
    assert len(failed) == statuses.count(401)


@pytest.mark.parametrize("trusted", ["1", "127.0.0.0/8"])
async def test_what_a_client_writes_into_x_forwarded_for_neither_frees_nor_forges(
    store: Store, guarded: Settings, open_api: OpenApi, trusted: str
) -> None:
    """The proxy appends its line: those before it came with the request."""
    statuses = list[int]()
    async with open_api(store, behind(guarded, trusted)) as api, browsing(api.url) as browser:
        for n in range(8):
            lines = [("X-Forwarded-For", f"198.51.100.{n}"), ("X-Forwarded-For", "203.0.113.7")]
            async with browser.http.post(
                f"{browser.url}/login", data={"token": f"wrong-0123456789abcd{n}"}, headers=lines
            ) as answer:
                statuses.append(answer.status)
    assert statuses[-1] == 429
    failed = [e for e in await latest_audit_entries(store, 99) if e["act"] == "login_failed"]
    assert {entry["on"] for entry in failed} == {"203.0.113.7"}


# Headers for browsers.


async def test_every_answer_says_how_a_browser_has_to_treat_it(browser: CookieBrowser) -> None:
    for path in ("/livez", "/v1/jobs", "/nowhere"):
        headers = (await browser.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert re.match(r"default-src 'none'.*frame-ancestors", headers["Content-Security-Policy"])
        assert headers["Cache-Control"] == "no-store"
