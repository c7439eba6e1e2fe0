"""A real Chromium over the real program: embedded Redis, worker, API, dashboard and sandbox."""

import os
from collections.abc import Callable, Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.browser.running_site import SECRETS, RunningSite, find_chromium, running

OpenPage = Callable[..., Page]
SLOW_MS = 15_000


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Generator[RunningSite]:
    del chromium  # without a browser nothing is started
    with running(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def chromium() -> Generator[Browser]:
    path = find_chromium()
    if path is None:
        reason = "no Chromium is installed: on Debian `apt-get install chromium`, or set CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser, site: RunningSite) -> Generator[OpenPage]:
    """Opens pages as a person who is logged in; whatever a page complains of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "Failed to load" not in message.text:
            complaints.append(message.text)

    def open_(
        path: str = "/", who: str = "ann", *, complains: bool = False, **options: object
    ) -> Page:
        context = chromium.new_context(base_url=site.url, **options)  # type: ignore[arg-type]
        context.set_default_timeout(SLOW_MS)
        contexts.append(context)
        page = context.new_page()
        if not complains:
            page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"/login?next={path}")
        page.get_by_label("API token").fill(SECRETS[who][1])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"**{path}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """The overview, by somebody who may act."""
    return open_page("/")
