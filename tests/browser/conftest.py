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
    del chromium  # skip before the site is started
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
    """Opens pages with a logged-in browser; console errors and warnings of a page fail the test."""
    contexts: list[BrowserContext] = []
    console_errors: list[str] = []

    def record(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "Failed to load" not in message.text:
            console_errors.append(message.text)

    def open_(
        path: str = "/", who: str = "ann", *, allow_errors: bool = False, **options: object
    ) -> Page:
        context = chromium.new_context(base_url=site.url, **options)  # type: ignore[arg-type]
        context.set_default_timeout(SLOW_MS)
        contexts.append(context)
        page = context.new_page()
        if not allow_errors:
            page.on("console", record)
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        page.goto(f"/login?next={path}")
        page.get_by_label("API token").fill(SECRETS[who][1])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"**{path}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not console_errors


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """The overview, with the operate role."""
    return open_page("/")
