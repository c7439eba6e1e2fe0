"""The page of credits in a real browser: charts, periods, and rows that lead to their jobs."""

import uuid
from datetime import UTC, datetime, timedelta

from playwright.sync_api import expect

from jobs.credits.charges import MICRO, Dimension, Measure
from tests.browser.conftest import OpenPage
from tests.browser.running_site import RunningSite
from tests.browser.test_accessibility import violations
from tests.browser.test_breakers_page import redis_of
from worker.store.keys import Keys


def book(site: RunningSite, batch: str, *, days_ago: int) -> str:
    """Add 8 credits to the sums of a day; returns the day."""
    day = (datetime.now(UTC) - timedelta(days=days_ago)).date().isoformat()
    keys, client = Keys("knouds"), redis_of(site)
    for dimension, name in ((Dimension.LANE, "demo/model/suno"), (Dimension.BATCH, batch)):
        for measure, amount in ((Measure.CREDITS, 8 * MICRO), (Measure.ESTIMATED, 2 * MICRO)):
            client.hincrby(keys.ledger(day, dimension, measure), name, amount)
    client.close()
    return day


def test_a_row_leads_to_its_jobs_by_keyboard_and_a_day_has_its_values(
    open_page: OpenPage, site: RunningSite
) -> None:
    batch = f"credits-{uuid.uuid4().hex[:6]}"
    job = site.enqueue(batch=batch, delay_s=3_600)
    day = book(site, batch, days_ago=1)
    page = open_page("/credits", who="ben")
    chart = page.locator("#chart-credits-days")
    expect(chart.locator("rect.bar").first).to_be_visible()
    assert f"{day}: named 6, estimated 2" in chart.locator("g.slot title").all_text_contents()
    chart.get_by_text("Data table").click()
    row_of_day = chart.locator("tbody tr", has_text=day)
    expect(row_of_day.locator("td")).to_have_text([day, "6", "2"])
    assert not violations(page)

    page.get_by_role("link", name="7 days", exact=True).click()
    page.wait_for_url("**/credits?days=7")
    row = page.locator("tbody tr", has=page.get_by_role("link", name=batch, exact=True))
    expect(row).to_have_count(1)
    for _ in range(page.locator("[data-list] tbody tr").count()):
        page.keyboard.press("j")
        if row.get_attribute("data-selected") is not None:
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs?batch={batch}")
    expect(page.get_by_role("link", name=job, exact=True)).to_be_visible()


def test_the_days_are_downloaded_as_csv(open_page: OpenPage, site: RunningSite) -> None:
    book(site, "csv", days_ago=2)
    page = open_page("/credits", who="ben")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the days as CSV").click()
    assert download.value.suggested_filename.startswith("credits-by-day-")
    head = download.value.path().read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith("day,credits,charges,estimated")
