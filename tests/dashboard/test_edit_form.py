"""The form on the page of a job that edits it."""

from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import PageReader
from tests.store.redis_contents import latest_audit_entries
from worker.store import Store


async def test_what_differs_from_what_was_shown_is_changed(
    pages: PageReader, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1", tags=("a",), priority=3)
    page = await pages.get("/jobs/j1")
    await job_factory.transition("j1", lambda job: job)  # somebody else writes it meanwhile
    page = await pages.send(page, "/jobs/j1/edit", tags="b, c", note="sorted")
    assert "Edited j1" in page.text
    stored = await store.jobs.load("j1")
    assert stored is not None
    assert (stored.job.tags, stored.job.priority) == (("b", "c"), 3)
    (entry,) = await latest_audit_entries(store, 1)
    assert entry["note"] == "tags a → b, c: sorted"


async def test_a_wrong_value_and_no_change_are_said(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1")
    page = await pages.get("/jobs/j1")
    assert "whole number" in (await pages.send(page, "/jobs/j1/edit", priority="high")).text
    assert "changes nothing" in (await pages.send(page, "/jobs/j1/edit")).text
    late = await pages.send(page, "/jobs/j1/edit", start_by="tomorrow")
    assert "RFC 3339" in late.text


async def test_a_job_at_the_provider_has_no_form(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued("j1")
    page = await pages.get("/jobs/j1")
    await job_factory.submit("j1")
    assert "/jobs/j1/edit" not in (await pages.get("/jobs/j1")).text
    assert (
        "cannot edit a job that is submitting"
        in (await pages.send(page, "/jobs/j1/edit", priority="5")).text
    )
