"""Behind a proxy that serves it under a path, whether the proxy strips the path or not."""

import asyncio
import re
from collections.abc import AsyncGenerator
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import aiohttp
import pytest
from pydantic import SecretStr, ValidationError

from config.settings import Settings
from config.values import OWN_PATHS, ApiToken, Role
from tests.api.event_stream_client import streaming
from tests.api.job_factory import JobFactory
from tests.dashboard.path_prefix_proxy import proxy_under
from worker.cli.api_client import open_client
from worker.compose.api import create_app, running
from worker.store import Store

PREFIX = "/tools/knouds"
SECRET = "a-secret-of-ann-123456"
HTML = {"Accept": "text/html"}
LINK = re.compile(r'\b(?:href|src|action|formaction|data-events|data-worker)="(/[^"]*)"')


@pytest.fixture(params=["stripped", "kept", "direct"])
async def url(request: pytest.FixtureRequest, store: Store, namespace: str) -> AsyncGenerator[str]:
    settings = Settings(
        namespace=namespace,
        http_port=0,
        http_prefix=PREFIX,
        api_tokens=(ApiToken("ann", Role.OPERATE, SecretStr(SECRET)),),
    )
    async with running(settings, store) as upstream:
        if request.param == "direct":
            yield upstream + PREFIX
            return
        strips = request.param == "stripped"
        async with proxy_under(PREFIX, upstream, strips=strips) as proxied:
            yield proxied


@pytest.fixture
async def browser(url: str) -> AsyncGenerator[aiohttp.ClientSession]:
    """Logged in through the form, as a browser does it."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, headers=HTML) as http:
        async with http.get(f"{url}/jobs?state=dead") as login:
            text = await login.text()
            assert login.url.path == f"{PREFIX}/login"
            assert login.url.query["next"] == "/jobs?state=dead"
        assert f'action="{PREFIX}/login"' in text
        form = {"token": SECRET, "next": "/jobs?state=dead"}
        async with http.post(f"{url}/login", data=form, allow_redirects=False) as logged_in:
            assert logged_in.status == 303
            assert logged_in.headers["Location"] == f"{PREFIX}/jobs?state=dead"
            cookies = SimpleCookie(logged_in.headers["Set-Cookie"])
            assert {one["path"] for one in cookies.values()} == {PREFIX}
        yield http


async def test_every_link_and_asset_of_every_page_works(
    browser: aiohttp.ClientSession, url: str, job_factory: JobFactory
) -> None:
    await job_factory.held("parked")
    await job_factory.dead("dead")
    await job_factory.succeeded("done")
    todo = ["/", "/holds", "/batches", "/credits", "/budgets", "/schedules", "/audit"]
    todo, seen = [*todo, "/jobs/dead/requeue"], set[str]()
    origin = url.removesuffix(PREFIX)
    while todo:
        path = todo.pop()
        target = path if path.startswith(PREFIX) else PREFIX + path
        if target in seen or len(seen) > 60 or target == f"{PREFIX}/v1/events":
            continue
        seen.add(target)
        async with browser.get(origin + target.replace("&amp;", "&")) as page:
            assert page.status == 200, target
            assert page.url.path.startswith(PREFIX)
            assert not page.url.path.endswith("/login"), target
            if page.content_type != "text/html":
                continue
            links = LINK.findall(await page.text())
        assert links
        assert [link for link in links if not link.startswith(f"{PREFIX}/")] == []
        todo += [link for link in links if "/actions/" not in link and "/logout" not in link]
        todo = [link.partition("#")[0] for link in todo if not _is_post_only(link)]
    assert any("/static/" in path and path.endswith("dashboard.js") for path in seen)
    assert f"{PREFIX}/jobs/dead" in seen


def _is_post_only(link: str) -> bool:
    posted = (
        "/release",
        "/bulk",
        "/login",
        "/logout",
        "/probe",
        "/reset",
        "/drain",
        "/erase",
        "/revoke",
        "/remove",
        "/edit",
        "/caps",
    )
    return link.endswith(posted)


async def test_an_action_returns_to_its_page(
    browser: aiohttp.ClientSession, url: str, job_factory: JobFactory
) -> None:
    await job_factory.queued("it")
    async with browser.get(f"{url}/jobs/it") as page:
        text = await page.text()
    csrf = re.findall(r'name="csrf" value="([^"]+)"', text)[0]
    back = re.findall(r'name="back" value="([^"]+)"', text)[0]
    assert back == "/jobs/it"
    form = {"csrf": csrf, "back": back}
    async with browser.post(
        f"{url}/jobs/it/actions/park", data=form, allow_redirects=False
    ) as done:
        assert (done.status, done.headers["Location"]) == (303, f"{PREFIX}/jobs/it")
    async with browser.get(f"{url}/jobs/it") as page:
        assert 'class="flash' in await page.text()


async def test_the_api_the_stream_and_the_command_line_work(
    url: str, job_factory: JobFactory
) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.get(f"{url}/openapi.json") as document:
            assert (await document.json())["servers"] == [{"url": PREFIX}]
        async with http.get(url) as index:
            assert (await index.json())["openapi"] == f"{PREFIX}/openapi.json"
        body = {"kind": "model", "target": "suno", "inputs": {"a": 1}, "id": "new"}
        async with http.post(f"{url}/v1/jobs", json=body) as created:
            assert created.headers["Location"] == f"{PREFIX}/v1/jobs/new"
        async with http.post(f"{url}/webhooks/knouds", data=b"{}") as delivery:
            assert delivery.status in (401, 404)
    async with streaming(url, headers) as ear:
        await ear.until_begun()
        await job_factory.queued("other")
        assert await ear.transitions(1) == [("other", None, "queued")]
    async with open_client(Settings(api_url=url).cli_url, SECRET) as client:
        found = await asyncio.wait_for(client.get("jobs", "new"), 10)
    assert urlsplit(url).path == PREFIX
    assert found.doc["id"] == "new"


@pytest.mark.parametrize(
    "prefix",
    ["knouds", "/knouds/", "/a//b", "/a b", "/a?b", '/a"', "/", "/a/../b", "/.", "/v1", "/jobs/a"],
)
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="http_prefix"):
        Settings(http_prefix=prefix)


async def test_a_prefix_may_not_begin_as_a_path_of_the_program(
    store: Store, namespace: str
) -> None:
    app = create_app(Settings(namespace=namespace), store)
    paths = {route.resource.canonical for route in app.router.routes() if route.resource}
    assert {path.split("/")[1] for path in paths} - {""} == OWN_PATHS
