"""Pages update live, and keep what the operator is editing."""

import uuid

from playwright.sync_api import Page, Request, expect

from tests.browser.conftest import OpenPage
from tests.browser.running_site import RunningSite

HIDE = """hidden => {
  Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def refreshes(page: Page) -> list[Request]:
    """The refresh requests of the page, recorded as they are sent."""
    found: list[Request] = []
    page.on("request", lambda one: found.append(one) if "x-partial" in one.headers else None)
    return found


def test_what_an_operator_is_editing_stays(open_page: OpenPage, site: RunningSite) -> None:
    page = open_page("/", viewport={"width": 1_000, "height": 300})
    name = f"b{uuid.uuid4().hex[:8]}"
    first = site.enqueue(batch=name, delay_s=3_600)
    page.goto(f"/jobs?batch={name}")
    box = page.get_by_label(f"Select {first}")
    box.check()
    page.locator("fieldset.bulk summary").click()
    field = page.locator("#bulk-patch")
    field.fill('{"half": "typed')
    field.evaluate("element => element.setSelectionRange(2, 6)")
    page.evaluate("scrollTo(0, 40)")
    second = site.enqueue(batch=name, delay_s=3_600)
    expect(page.get_by_role("link", name=second, exact=True)).to_be_visible()
    expect(field).to_have_value('{"half": "typed')
    expect(field).to_be_focused()
    assert field.evaluate("element => [element.selectionStart, element.selectionEnd]") == [2, 6]
    expect(box).to_be_checked()
    expect(page.get_by_label(f"Select {second}")).not_to_be_checked()
    expect(field).to_be_visible()
    assert page.evaluate("scrollY") == 40


def test_a_hidden_tab_pauses_and_then_catches_up(page: Page, site: RunningSite) -> None:
    name = f"b{uuid.uuid4().hex[:8]}"
    page.goto(f"/jobs?batch={name}")
    expect(page.locator("#connection")).to_have_text("Live")
    page.evaluate(HIDE, True)
    page.wait_for_timeout(300)  # a running refresh may end
    requests = refreshes(page)
    job = site.enqueue(batch=name, delay_s=3_600)
    page.wait_for_timeout(2_500)  # time for several refreshes
    assert not requests
    page.evaluate(HIDE, False)
    expect(page.get_by_role("link", name=job, exact=True)).to_be_visible()
    assert requests


def test_a_burst_of_events_is_one_refresh_per_second(page: Page, site: RunningSite) -> None:
    page.goto("/jobs")
    expect(page.locator("#connection")).to_have_text("Live")
    requests = refreshes(page)
    started_ms = page.evaluate("performance.now()")
    for _ in range(25):
        site.enqueue("suno", delay_s=3_600)
        page.wait_for_timeout(100)
    elapsed_s = (page.evaluate("performance.now()") - started_ms) / 1_000
    assert 1 <= len(requests) <= elapsed_s + 1


def test_without_a_stream_of_events_pages_refresh_by_themselves(
    open_page: OpenPage, site: RunningSite
) -> None:
    page = open_page("/")
    page.add_init_script("delete globalThis.SharedWorker")  # whose requests no route sees
    page.route("**/v1/events", lambda route: route.abort())
    name = f"b{uuid.uuid4().hex[:8]}"
    page.goto(f"/jobs?batch={name}")
    page.wait_for_timeout(500)
    job = site.enqueue(batch=name, delay_s=3_600)
    expect(page.get_by_role("link", name=job, exact=True)).to_be_visible()
    expect(page.locator("#connection")).to_have_text("Live (polling every 3 s)")


def test_the_keyboard_shortcuts_work(page: Page, site: RunningSite) -> None:
    for n in range(3):
        site.enqueue("suno", id=f"keys-{n}-{uuid.uuid4().hex[:6]}", delay_s=3_600, tags=["keys"])
    for key, path in (
        ("j", "/jobs"),
        ("p", "/parked"),
        ("d", "/dead"),
        ("h", "/holds"),
        ("b", "/batches"),
        ("c", "/credits"),
        ("u", "/budgets"),
        ("s", "/schedules"),
        ("l", "/callbacks"),
        ("a", "/audit"),
        ("o", "/"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"**{path}")
    page.goto("/jobs?tag=keys")
    rows = page.locator("tbody tr")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(rows.nth(1)).to_have_attribute("data-selected", "")
    expect(rows.nth(1).locator("[data-open]")).to_be_focused()
    page.keyboard.press("x")
    expect(rows.nth(1).locator("input")).to_be_checked()
    page.keyboard.press("k")
    expect(rows.nth(0)).to_have_attribute("data-selected", "")
    page.keyboard.press("/")
    expect(page.locator("form.filter select").first).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/keys-2-*")


def test_the_system_sets_the_colour_scheme_until_the_operator_selects_one(
    open_page: OpenPage,
) -> None:
    def background(page: Page) -> str:
        found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return found

    light, dark = open_page("/", color_scheme="light"), open_page("/", color_scheme="dark")
    before = background(light)
    assert before != background(dark)
    light.get_by_role("button", name="Theme").click()
    assert background(light) == background(dark)
    light.reload()
    assert background(light) == background(dark), "the selection is stored"
