"""The guard of every page: a login, a role, and for forms the CSRF token."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from config.settings import Settings
from config.values import ApiToken, Role
from tests.api.cookie_browser import CookieBrowser, browsing
from tests.api.event_stream_client import streaming
from tests.api.job_factory import JobFactory
from tests.api.test_sessions import SECRETS, TOKENS
from worker.api.auth.access import COOKIE
from worker.api.auth.page_guard import login_context, page
from worker.api.auth.principal import current_principal
from worker.api.auth.sessions import csrf_of
from worker.api.headers import page_csp
from worker.compose.api import create_app
from worker.store import Store


@page(Role.READ)
async def viewer_page(request: web.Request) -> web.Response:
    """A page that shows its principal."""
    del request
    who = current_principal()
    text = f"{who.name} {who.role} {who.sees_payloads} {who.may_operate} {who.csrf}"
    return web.Response(text=text, content_type="text/html")


@page(Role.OPERATE)
async def form_page(request: web.Request) -> web.Response:
    """A form."""
    del request
    return web.Response(text=current_principal().name)


async def unguarded(request: web.Request) -> web.Response:
    """A page that forgot its guard."""
    del request
    return web.Response(text=current_principal().name)


async def login_page(request: web.Request) -> web.Response:
    """The facts of a login page."""
    found = await login_context(request)
    name = found.principal.name if found.principal else ""
    return web.Response(text=f"{found.needs_login} {found.next} {name}")


@asynccontextmanager
async def pages(
    store: Store, namespace: str, tokens: Sequence[ApiToken]
) -> AsyncGenerator[CookieBrowser]:
    """The API with pages of our own."""
    settings = Settings(namespace=namespace, http_port=0, api_tokens=tuple(tokens))
    app = create_app(settings, store)
    app.router.add_get("/our/page", viewer_page)
    app.router.add_post("/our/page", form_page)
    app.router.add_get("/our/login", login_page)
    app.router.add_get("/our/unguarded", unguarded)
    async with TestServer(app) as server, browsing(str(server.make_url("")).rstrip("/")) as found:
        yield found


@pytest.fixture
async def browser(store: Store, namespace: str) -> AsyncGenerator[CookieBrowser]:
    async with pages(store, namespace, TOKENS) as found:
        yield found


async def test_who_is_not_logged_in_is_sent_to_the_login_and_back(browser: CookieBrowser) -> None:
    reply = await browser.get("/our/page?state=dead&tag=a%26b")
    assert reply.status == 303
    assert reply.headers["Location"] == "/login?next=/our/page%3Fstate%3Ddead%26tag%3Da%2526b"
    facts = await browser.get(reply.headers["Location"].replace("/login", "/our/login"))
    assert facts.body == b"True /our/page?state=dead&tag=a%26b "


async def test_a_form_of_nobody_does_nothing_and_leads_to_the_login(browser: CookieBrowser) -> None:
    reply = await browser.post("/our/page", {"csrf": "x"})
    assert (reply.status, reply.headers["Location"]) == (303, "/login?next=/")


async def test_a_script_that_fetches_a_part_of_a_page_gets_401(browser: CookieBrowser) -> None:
    assert (await browser.get("/our/page", {"X-Partial": "1"})).status == 401


@pytest.mark.parametrize(
    ("role", "status"),
    [(Role.ENQUEUE, 403), (Role.WATCH, 403), (Role.READ, 200), (Role.OPERATE, 200)],
)
async def test_a_page_takes_its_role(browser: CookieBrowser, role: Role, status: int) -> None:
    await browser.log_in(SECRETS[role])
    reply = await browser.get("/our/page")
    assert reply.status == status
    if status == 200:
        facts = f"{role}-app {role} True {role is Role.OPERATE} {csrf_of(browser.session)}"
        assert reply.body.decode() == facts


async def test_a_form_carries_the_token_of_its_page(browser: CookieBrowser) -> None:
    await browser.log_in(SECRETS[Role.OPERATE])
    csrf = csrf_of(browser.session)
    for wrong in ({}, {"csrf": ""}, {"csrf": csrf[1:]}):
        assert (await browser.post("/our/page", wrong)).status == 403
    assert (await browser.post("/our/page", {"csrf": csrf})).status == 200
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert (await browser.post("/our/page", {"csrf": csrf}, cross)).status == 403


async def test_a_form_of_a_small_role_is_refused_on_the_server(browser: CookieBrowser) -> None:
    await browser.log_in(SECRETS[Role.READ])
    form = {"csrf": csrf_of(browser.session)}
    assert (await browser.post("/our/page", form)).status == 403


async def test_a_page_may_run_nothing_but_our_files(browser: CookieBrowser) -> None:
    await browser.log_in(SECRETS[Role.READ])
    headers = (await browser.get("/our/page")).headers
    policy = headers["Content-Security-Policy"]
    assert policy == page_csp("https://knouds.ai https://*.knouds.ai")
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"


async def test_the_next_request_of_a_connection_is_not_who_asked_before(
    browser: CookieBrowser,
) -> None:
    await browser.log_in(SECRETS[Role.READ])
    assert (await browser.get("/our/page")).status == 200
    assert (await browser.get("/our/unguarded")).status == 401
    browser.http.cookie_jar.clear()
    assert (await browser.get("/our/page")).status == 303
    assert (await browser.get("/our/login")).body == b"True / "


async def test_a_browser_hears_events_with_its_cookie(
    browser: CookieBrowser, job_factory: JobFactory
) -> None:
    await browser.log_in(SECRETS[Role.WATCH])
    headers = {"Cookie": f"{COOKIE}={browser.session}"}
    async with streaming(browser.url, headers=headers) as ear:
        await ear.until_begun()
        await job_factory.queued("j1")
        assert await ear.transitions(1) == [("j1", None, "queued")]


# Without tokens.


async def test_without_tokens_everybody_here_is_local_and_forms_still_need_their_token(
    store: Store, namespace: str
) -> None:
    async with pages(store, namespace, ()) as browser:
        name, role, *_, csrf = (await browser.get("/our/page")).body.decode().split()
        assert (name, role) == ("local", "operate")
        assert (await browser.post("/our/page")).status == 403
        assert (await browser.post("/our/page", {"csrf": csrf})).status == 200
        evil = {"Origin": "https://evil.example"}
        assert (await browser.post("/our/page", {"csrf": csrf}, evil)).status == 403
        assert (await browser.get("/our/page", {"Host": "evil.example"})).status == 403
        assert (await browser.get("/our/login")).body == b"False / local"
    async with pages(store, namespace, ()) as browser:
        assert (await browser.post("/our/page", {"csrf": csrf})).status == 403, "another process"
