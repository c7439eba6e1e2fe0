"""Breakers in the browser: what is stopped and why, and the buttons."""

import time
from typing import Any, cast

import msgspec
import pytest
import redis
from playwright.sync_api import Page, expect

from jobs.breakers import Breaker, BreakerCause, BreakerError, BreakerState, new_breaker
from jobs.lanes import Scope
from tests.browser.conftest import OpenPage
from tests.browser.running_site import RunningSite
from tests.browser.test_accessibility import violations
from worker.store.events import BREAKER_EVENT_FIELD, BreakerNotice

EVENT_MS = 8_000
"""Within this an event refreshes a page; without one it would take 15 s."""


def redis_of(site: RunningSite) -> Any:
    """A client of the Redis of the running program."""
    return cast("Any", redis.Redis).from_url(site.redis_url)


def announce(site: RunningSite, breaker: Breaker) -> None:
    """Write the event that goes with a change of a breaker."""
    notice = BreakerNotice(
        breaker.id, breaker.scope, breaker.cause, breaker.state, breaker.changed_at
    )
    client = redis_of(site)
    client.xadd("knouds:events", {BREAKER_EVENT_FIELD: msgspec.json.encode(notice)})
    client.close()


def open_breaker(
    site: RunningSite, scope: str, cause: BreakerCause, error: BreakerError
) -> Breaker:
    """Write a breaker that is open, with its next probe in ten minutes."""
    now = time.time()
    breaker = msgspec.structs.replace(
        new_breaker(Scope(scope), cause),
        state=BreakerState.OPEN,
        changed_at=now,
        opened_at=now - 120,
        failed_at=now - 3,
        next_probe_at=now + 600,
        canary_at=now + 600,
        failures=12,
        pauses=1,
        error=error,
    )
    client = redis_of(site)
    client.hset("knouds:breakers", breaker.key, b"0 " + msgspec.json.encode(breaker))
    client.close()
    return breaker


@pytest.fixture
def breaker(site: RunningSite) -> Breaker:
    error = BreakerError("EXECUTION_FAILED", 500)
    return open_breaker(site, "demo-2/model/suno", BreakerCause.TARGET_FAILURE, error)


def test_a_stopped_target_is_seen_explained_probed_and_reset(
    page: Page, site: RunningSite, breaker: Breaker
) -> None:
    job = site.enqueue("suno", account="demo-2")
    page.goto("/")
    expect(page.locator("#summary")).to_contain_text("runs fail (demo-2/model/suno)")
    page.goto(f"/jobs/{job}")
    why = page.locator(".blockers")
    expect(why).to_contain_text("runs fail – EXECUTION_FAILED (HTTP 500)")
    expect(why).to_contain_text("next probe in")
    why.get_by_role("link", name="breaker").click()
    card = page.locator(f"#{breaker.id}")
    expect(card).to_contain_text("1 job queued")
    expect(card).to_contain_text("12 failures")
    assert not violations(page)

    card.get_by_label("Note").fill("their status page is green")
    card.get_by_role("button", name="Reset").click()
    expect(page.locator("#flash")).to_contain_text("Reset the breaker of demo-2/model/suno")
    expect(page.locator(f"#{breaker.id}")).to_have_count(0)
    site.until(job, "succeeded")
    page.goto("/audit")
    expect(page.locator("#main")).to_contain_text("their status page is green")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/", "runs fail (demo-4/model/suno)"), ("/holds", "demo-4/model/suno")],
)
def test_a_change_is_shown_at_once(page: Page, site: RunningSite, path: str, words: str) -> None:
    """Much sooner than the refresh that comes without any event."""
    page.goto(path)
    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.locator("#main")).not_to_contain_text(words)
    error = BreakerError("EXECUTION_FAILED", 500)
    breaker = open_breaker(site, "demo-4/model/suno", BreakerCause.TARGET_FAILURE, error)
    announce(site, breaker)
    expect(page.locator("#main")).to_contain_text(words, timeout=EVENT_MS)
    site.api("POST", f"/v1/breakers/{breaker.id}/reset", {})
    expect(page.locator("#main")).not_to_contain_text(words, timeout=EVENT_MS)


def test_a_probe_is_asked_for_with_one_button(
    page: Page, site: RunningSite, breaker: Breaker
) -> None:
    page.goto("/holds")
    page.locator(f"#{breaker.id}").get_by_role("button", name="Probe now").click()
    expect(page.locator("#flash")).to_contain_text("demo-2/model/suno is probed now")
    site.api("POST", f"/v1/breakers/{breaker.id}/reset", {})


def test_an_unreachable_provider_is_no_good_news(page: Page, site: RunningSite) -> None:
    error = BreakerError("unreachable", message="nowhere.example: no such host (KNOUDS_BASE_URL)")
    breaker = open_breaker(site, "demo-3", BreakerCause.UNREACHABLE, error)
    page.goto("/")
    summary = page.locator(".summary")
    expect(summary).to_contain_text("the provider cannot be reached")
    expect(summary).to_contain_text("nowhere.example: no such host (KNOUDS_BASE_URL)")
    assert not violations(page)
    site.api("POST", f"/v1/breakers/{breaker.id}/reset", {})


def test_who_may_not_operate_sees_breakers_without_buttons(
    open_page: OpenPage, breaker: Breaker, site: RunningSite
) -> None:
    page = open_page("/holds", who="cat")
    card = page.locator(f"#{breaker.id}")
    expect(card).to_contain_text("runs fail")
    expect(card.get_by_role("button")).to_have_count(0)
    site.api("POST", f"/v1/breakers/{breaker.id}/reset", {})
