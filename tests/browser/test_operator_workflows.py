"""The operator's main tasks, from the first page to the finished job."""

import uuid

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.running_site import RunningSite


def batch() -> str:
    return f"b{uuid.uuid4().hex[:8]}"


def test_a_parked_job_is_found_released_after_a_top_up_and_shown_finishing(
    page: Page, site: RunningSite
) -> None:
    site.top_up(0)
    job = site.enqueue(account="studio-2", knobs={"duration_s": 1})
    summary = page.locator("#summary")
    expect(summary).to_contain_text("INSUFFICIENT_CREDITS on studio-2")  # updated live
    page.get_by_role("link", name="INSUFFICIENT_CREDITS on studio-2").first.click()
    hold = page.locator("article.hold", has_text="studio-2")
    expect(hold).to_contain_text("Top up account studio-2 in Settings → Billing")
    expect(hold).to_contain_text("Queues 1 job; one canary is sent first")

    site.top_up(1_000)
    hold.get_by_label("Note").fill("paid the bill")
    hold.get_by_role("button", name="Release").click()
    expect(page.locator("#flash")).to_contain_text("1 job queued")

    page.goto(f"/jobs/{job}")
    expect(page.locator("h1")).to_contain_text("succeeded")  # live
    timeline = page.locator(".timeline")
    expect(timeline).to_contain_text("Released")
    expect(timeline).to_contain_text("by ann")
    expect(timeline).to_contain_text("paid the bill")
    expect(page.locator(".media img")).to_have_count(1)


def test_a_dead_letter_is_edited_and_requeued(page: Page, site: RunningSite) -> None:
    job = site.enqueue("product-shots", kind="workflow")
    site.until(job, "dead")
    page.goto("/dead")
    page.get_by_role("link", name=job, exact=True).click()
    expect(page.locator(".reason")).to_contain_text("INVALID_INPUTS")
    page.get_by_role("link", name="Edit the inputs first").click()
    patch = page.get_by_label("JSON merge patch")
    patch.fill('{"product_image": "https://example.com/shoe.png"}')
    page.get_by_role("button", name="Preview changes").click()
    expect(page.locator(".diff .added")).to_contain_text(["product_image"])
    expect(page.locator(".diff .removed")).to_have_count(0)
    page.get_by_role("button", name="Requeue").click()
    expect(page.locator("#flash")).to_contain_text("Requeued with changed inputs")
    expect(page.locator("h1")).to_contain_text("succeeded")
    expect(page.locator(".timeline .attempt")).to_have_count(2)  # its history is kept


def test_bulk_actions_are_previewed_and_then_done(page: Page, site: RunningSite) -> None:
    name = batch()
    jobs = [site.enqueue("product-shots", kind="workflow", batch=name) for _ in range(7)]
    for job in jobs:
        site.until(job, "dead")
    page.goto(f"/dead?batch={name}")
    page.get_by_label("All 7 matching jobs").check()
    page.locator("fieldset.bulk summary").click()
    page.locator("#bulk-patch").fill('{"product_image": "x", "prompt": null}')
    page.locator("fieldset.bulk").get_by_role("button", name="Requeue").click()

    expect(page.locator("#progress-text")).to_have_text("Would requeue 7 jobs")
    expect(page.locator(".diff .added", has_text="product_image").first).to_be_visible()
    expect(page.locator(".diff .removed", has_text="prompt").first).to_be_visible()
    assert {site.job(job)["state"] for job in jobs} == {"dead"}, "a preview changes nothing"
    page.get_by_label("Note").fill("pictures were missing")
    page.get_by_role("button", name="Requeue 7 jobs").click()
    expect(page.locator("#progress-text")).to_have_text("Requeued 7 jobs")

    page.goto(f"/batches?name={name}")
    expect(page.locator("tbody tr")).to_contain_text("100 %")  # live
    page.goto("/audit?act=bulk_requeue")
    expect(page.locator("tbody tr").first).to_contain_text("pictures were missing")


def test_an_uncertain_job_is_attached_to_the_run_that_webhooks_reported(
    page: Page, site: RunningSite
) -> None:
    job = site.enqueue("suno", knobs={"fault": "drop_after", "times": 1, "duration_s": 0.2})
    site.until(job, "parked")
    site.until_webhook_reported(job)
    page.goto("/parked?code=uncertain&target=suno")
    card = page.locator("article", has_text=job)
    expect(card).to_contain_text("Possible matches")
    card.get_by_role("button", name="Attach this run").click()
    page.goto(f"/jobs/{job}")
    expect(page.locator("h1")).to_contain_text("succeeded")
    expect(page.locator(".timeline")).to_contain_text("Execution attached")


def test_a_job_is_found_by_id_execution_id_and_prefix(page: Page, site: RunningSite) -> None:
    name = f"find-{uuid.uuid4().hex}"
    job = site.enqueue(id=name, knobs={"duration_s": 30})
    execution_id = site.until(job, "running")["execution_id"]
    for text in (name, execution_id, name[:20]):
        page.locator("#find").fill(text)
        page.locator("#find").press("Enter")
        page.wait_for_url(f"**/jobs/{name}")
    page.locator(".action", has_text="Cancel").get_by_role("button").click()
    expect(page.locator("h1")).to_contain_text("cancelled")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_actions_work_without_scripts_too(
    open_page: OpenPage,
    site: RunningSite,
    scripts: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    job = site.enqueue(delay_s=3_600)
    page = open_page(f"/jobs/{job}", java_script_enabled=scripts)
    page.locator(".action", has_text="Park").get_by_role("button", name="Park").click()
    expect(page.locator("h1")).to_contain_text("parked")
    expect(page.locator("#flash")).to_contain_text("Parked")
    page.locator("summary", has_text="Discard").click()
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("h1")).to_contain_text("cancelled")
