"""axe-core finds no serious violation in both schemes and at phone width; no page overflows."""

from importlib import resources
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, ViewportSize

from tests.browser.conftest import OpenPage
from tests.browser.running_site import RunningSite

LISTS = (
    "/",
    "/jobs",
    "/parked",
    "/dead",
    "/holds",
    "/batches",
    "/batches?name=axe",
    "/credits",
    "/budgets",
    "/schedules",
    "/callbacks",
    "/audit",
    "/jobs?code=nothing",
)
AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
SERIOUS_IMPACTS = ("serious", "critical")
PHONE: ViewportSize = {"width": 390, "height": 800}
DESKTOP: ViewportSize = {"width": 1200, "height": 800}


@pytest.fixture(scope="module")
def jobs(site: RunningSite) -> dict[str, str]:
    """One job for each kind of job page."""
    site.top_up(0)
    found = {
        "parked": site.enqueue(account="studio", batch="axe"),
        "dead": site.enqueue("product-shots", kind="workflow", batch="axe"),
        "succeeded": site.enqueue("my-pipeline", kind="workflow", batch="axe"),
    }
    for state, job in found.items():
        site.until(job, state)
    uncertain = site.enqueue("suno", knobs={"fault": "drop_after", "times": 1}, batch="axe")
    site.until(uncertain, "parked")
    return {**found, "uncertain": uncertain}


def violations(page: Page) -> list[str]:
    """The serious violations that axe finds, with their elements."""
    page.evaluate(AXE)
    results: dict[str, Any] = page.evaluate("axe.run()")
    return [
        f"{one['id']} ({one['impact']}): {one['help']} at {node['html'][:160]}"
        for one in results["violations"]
        if one["impact"] in SERIOUS_IMPACTS
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_has_a_serious_violation(
    open_page: OpenPage,
    jobs: dict[str, str],
    scheme: Literal["light", "dark"],
    size: ViewportSize,
) -> None:
    page = open_page("/", color_scheme=scheme, viewport=size)
    paths = [*LISTS, *(f"/jobs/{job}" for job in jobs.values())]
    paths += [f"/jobs/{jobs['dead']}/requeue", f"/jobs/{jobs['dead']}/similar", "/jobs/none"]
    found: dict[str, list[str]] = {}
    for path in paths:
        page.goto(path)
        if serious := violations(page):
            found[path] = serious
        too_wide = page.evaluate("document.scrollingElement.scrollWidth > innerWidth")
        if too_wide:
            found.setdefault(path, []).append("the page is wider than the window")
    page.keyboard.press("?")
    if serious := violations(page):
        found["shortcuts"] = serious
    assert not found


def test_the_login_and_a_preview_have_no_serious_violation(
    open_page: OpenPage, jobs: dict[str, str]
) -> None:
    del jobs
    page = open_page("/dead")
    page.get_by_label("matching jobs").check()
    page.locator("fieldset.bulk").get_by_role("button", name="Requeue").click()
    page.locator("#progress-text").wait_for()
    assert not violations(page)
    page.context.clear_cookies()
    page.goto("/")
    assert not violations(page)
