"""Over HTTP/1.1 a browser has six connections to a host: many windows share one event stream."""

import uuid

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.running_site import RunningSite

WINDOWS = 8


def test_eight_windows_are_live_at_once(open_page: OpenPage, site: RunningSite) -> None:
    name = f"b{uuid.uuid4().hex[:8]}"
    first = open_page("/")
    windows = [first, *(first.context.new_page() for _ in range(WINDOWS - 1))]
    for window in windows:
        window.goto(f"/jobs?batch={name}")
        expect(window.locator("#connection")).to_have_text("Live")
    job = site.enqueue(batch=name, delay_s=3_600)
    for window in windows:
        expect(window.get_by_role("link", name=job, exact=True)).to_be_visible()
    for window in windows[1:]:
        window.close()
    other = site.enqueue(batch=name, delay_s=3_600)
    expect(first.get_by_role("link", name=other, exact=True)).to_be_visible()
