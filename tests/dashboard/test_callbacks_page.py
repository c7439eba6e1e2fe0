"""The page of callbacks and the section of a job's page: what they show, and the button."""

import msgspec

from jobs.callback_breaker import CallbackBreaker
from jobs.callbacks import CallbackFailure, CallbackState, CallbackSubject, after_failure
from jobs.states import State
from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import PageReader
from tests.store.redis_contents import latest_audit_entries
from worker.clock import SystemClock
from worker.store import Store

URL = "https://hooks.example.com/k"


async def failed(store: Store, job_factory: JobFactory) -> str:
    """A callback that its receiver does not want."""
    await job_factory.queued("j1", callback_url=URL)
    await job_factory.transition("j1", lambda job: msgspec.structs.replace(job, state=State.DEAD))
    (found,) = await store.callbacks.of_subject(CallbackSubject.JOB, "j1")
    stored = await store.callbacks.find(found.id)
    assert stored is not None
    gone = CallbackFailure("answered 410 Gone", 410, is_final=True)
    assert await store.callbacks.amend(stored, after_failure(found, SystemClock().now(), 0.5, gone))
    return found.id


async def test_a_failed_callback_is_shown_with_its_error_and_sent_again(
    pages: PageReader, store: Store, job_factory: JobFactory
) -> None:
    callback_id = await failed(store, job_factory)
    page = await pages.get("/callbacks?state=failed")
    for text in ("job.dead", "j1", "answered 410 Gone", URL, "1 failed"):
        assert text in page.text
    page = await pages.send(page, f"/callbacks/{callback_id}/resend")
    assert "job.dead of j1 is sent again" in page.text
    stored = await store.callbacks.find(callback_id)
    assert stored is not None
    assert stored.callback.state is CallbackState.PENDING
    (entry,) = await latest_audit_entries(store, 1)
    assert entry["act"] == "resend_callback"


async def test_the_page_of_a_job_shows_its_callbacks(
    pages: PageReader, store: Store, job_factory: JobFactory
) -> None:
    callback_id = await failed(store, job_factory)
    page = await pages.get("/jobs/j1")
    assert "answered 410 Gone" in page.text
    page = await pages.send(page, f"/callbacks/{callback_id}/resend")
    assert "is sent again" in page.text
    assert page.url.endswith("/jobs/j1"), "back to the page of the button"


async def test_a_host_that_is_down_is_named_with_its_next_probe(
    pages: PageReader, store: Store
) -> None:
    now = SystemClock().now()
    breaker = CallbackBreaker(until=now + 60, failures=7, since=now - 60, error="cannot connect")
    await store.callbacks.set_breaker("https://hooks.example.com:443", b"", breaker)
    page = await pages.get("/callbacks")
    assert "Hosts that are down" in page.text
    assert "cannot connect" in page.text


async def test_a_wrong_filter_is_said(pages: PageReader) -> None:
    assert (await pages.get("/callbacks?state=lost")).status == 400
    assert (await pages.get("/callbacks?cursor=x")).status == 400
    assert "No callback matches" in (await pages.get("/callbacks?job=nothing")).text
