"""The page of budgets in a real browser: one is set, changed and removed, by keyboard."""

import uuid

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.running_site import RunningSite
from tests.browser.test_accessibility import PHONE, violations


def test_a_budget_is_set_seen_by_readers_and_removed(
    open_page: OpenPage, site: RunningSite
) -> None:
    name = f"b-{uuid.uuid4().hex[:6]}"
    page = open_page("/budgets")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Scope").fill(f"tag:{name}")
    page.get_by_label("Limit").fill("-5")
    page.keyboard.press("Enter")
    expect(page.locator("#error-limit")).to_contain_text("a number of credits more than 0")
    expect(page.get_by_label("Scope")).to_have_value(f"tag:{name}")
    assert not violations(page)
    page.get_by_label("Limit").fill("250")
    page.get_by_label("Period").select_option("month")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.keyboard.press("Enter")
    page.wait_for_url("**/budgets")
    expect(page.locator("#flash")).to_contain_text(f"Set {name}: 250 credits a month")
    row = page.locator("tr", has=page.get_by_text(name, exact=True))
    expect(row).to_contain_text("250 credits a month (Europe/Berlin)")

    page.get_by_role("link", name=f"Change {name}").click()
    expect(page.get_by_label("Limit")).to_have_value("250")
    page.get_by_label("Limit").fill("300")
    page.keyboard.press("Enter")
    expect(page.locator("#flash")).to_contain_text("300 credits a month")

    reader = open_page("/budgets", who="ben", viewport=PHONE)
    expect(reader.locator("tr", has_text=name)).to_contain_text("300 credits a month")
    expect(reader.get_by_role("button", name="Set", exact=True)).to_have_count(0)
    assert not violations(reader)
    assert reader.evaluate("document.documentElement.scrollWidth <= innerWidth")

    row = page.locator("tr", has=page.get_by_text(name, exact=True))
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    assert not violations(page)
    row.get_by_label("Note").fill("over")
    row.get_by_role("button", name=f"Remove {name}").click()
    expect(page.locator("#flash")).to_contain_text(f"Removed {name}")
    expect(page.locator("main")).not_to_contain_text(name)
    expect(reader.locator("main")).not_to_contain_text(name)  # live
    assert site.api("GET", "/v1/budgets")["items"] == []
