"""Hostile texts never run, pages load nothing from other hosts, and roles limit actions."""

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.running_site import RunningSite

HOSTILE = "<script>window.taken = 1</script><img src=x onerror='window.taken = 2'>"
RTL = "photo\u202egnp.exe\u2066"
PAGES = (
    "/",
    "/jobs",
    "/parked",
    "/dead",
    "/holds",
    "/batches",
    "/callbacks",
    "/credits",
    "/budgets",
    "/schedules",
    "/audit",
)


def test_hostile_inputs_are_texts(page: Page, site: RunningSite) -> None:
    inputs = {"prompt": HOSTILE, HOSTILE: RTL, "long": "x" * 900_000}
    job = site.enqueue("product-shots", kind="workflow", inputs=inputs)
    site.until(job, "dead")
    for path in (f"/jobs/{job}", f"/jobs/{job}/requeue", f"/jobs/{job}/similar", "/dead"):
        page.goto(path)
        page.wait_for_timeout(200)
        assert page.evaluate("window.taken") is None
        assert "\u202e" not in page.content()
    page.goto(f"/jobs/{job}")
    expect(page.locator("pre").last).to_contain_text("<script>window.taken = 1</script>")
    assert len(page.content()) < 100_000


def test_a_hostile_result_is_text(page: Page, site: RunningSite) -> None:
    result = {"images": ["javascript:window.taken=3", "data:text/html,x"], "text": HOSTILE}
    job = site.enqueue(knobs={"result": result})
    site.until(job, "succeeded")
    page.goto(f"/jobs/{job}")
    expect(page.locator(".media")).to_have_count(0)
    page.wait_for_timeout(200)
    assert page.evaluate("window.taken") is None


def test_a_script_in_the_page_would_not_run(open_page: OpenPage) -> None:
    """The content security policy blocks an injected script."""
    page = open_page("/", allow_errors=True)
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.taken = 4";
          document.body.append(script);
        }"""
    )
    assert page.evaluate("window.taken") is None


def test_pages_load_nothing_from_other_hosts(open_page: OpenPage, site: RunningSite) -> None:
    page = open_page("/")
    urls: list[str] = []
    page.on("request", lambda one: urls.append(one.url))
    for path in PAGES:
        page.goto(path)
        page.wait_for_load_state("load")
    assert urls
    assert {url.split("/")[2] for url in urls} == {site.url.split("/")[2]}


@pytest.mark.parametrize("who", ["ben", "cat"])
def test_a_read_only_role_sees_no_actions_and_is_refused(
    open_page: OpenPage, site: RunningSite, who: str
) -> None:
    job = site.enqueue("product-shots", kind="workflow")
    site.until(job, "dead")
    page = open_page(f"/jobs/{job}", who=who)
    expect(page.locator(".action")).to_have_count(0)
    expect(page.locator("form[method=post]")).to_have_count(1)  # to log out
    csrf = page.locator("form[action='/logout'] input[name=csrf]").get_attribute("value")
    form = {"csrf": csrf or "", "action": "discard", "state": "dead", "scope": "all"}
    for path in (f"/jobs/{job}/actions/discard", "/bulk", "/bulk/confirm", "/holds"):
        response = page.request.post(path, form=form)  # type: ignore[arg-type]
        assert response.status == 403, path
    assert site.job(job)["state"] == "dead"


def test_the_watch_role_sees_no_payloads(open_page: OpenPage, site: RunningSite) -> None:
    job = site.enqueue(inputs={"prompt": "my secret plan"})
    site.until(job, "succeeded")
    page = open_page(f"/jobs/{job}", who="cat")
    assert page.get_by_text("Hidden: your role cannot see").count() == 2
    assert "my secret plan" not in page.content()
    assert page.request.get(f"/jobs/{job}/inputs.json").status == 403


def test_an_action_needs_the_csrf_token_of_its_form(page: Page, site: RunningSite) -> None:
    job = site.enqueue(delay_s=3_600)
    page.goto(f"/jobs/{job}")
    for form in ({}, {"csrf": "0" * 64}):
        response = page.request.post(f"/jobs/{job}/actions/cancel", form=form)  # type: ignore[arg-type]
        assert response.status == 403
    assert site.job(job)["state"] == "scheduled"
    page.locator("input[name=csrf]").first.evaluate("element => element.remove()")
    assert json.loads(json.dumps(site.job(job)))["state"] == "scheduled"


def test_scripts_cannot_read_the_cookies(page: Page) -> None:
    assert page.evaluate("document.cookie") == ""


def test_logging_out_ends_the_session(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto("/jobs")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.get_by_label("API token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("no token of KNOUDS_API_TOKENS")
