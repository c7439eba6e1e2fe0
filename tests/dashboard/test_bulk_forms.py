"""Bulk actions from a page: a preview with counts, cost and differences, then the run."""

import asyncio

import pytest

from config.settings import Settings
from jobs.holds import Hold
from jobs.lanes import Scope
from jobs.states import State
from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import HtmlPage, PageReader
from tests.store.redis_contents import latest_audit_entries
from worker.app.actions import Actor
from worker.app.bulk_request import BulkAction, BulkRequest, JobSelection
from worker.clock import SystemClock
from worker.compose.app import build_use_cases
from worker.dashboard import background_bulk
from worker.dashboard.background_bulk import BackgroundBulks
from worker.store import Store
from worker.store.read.filter import Filter


async def states(store: Store) -> dict[State, int]:
    counts, _ = await store.read.queries.state_counts()
    return {state: count for state, count in counts.items() if count}


async def preview_all(pages: PageReader, page: HtmlPage, action: str, **changes: str) -> HtmlPage:
    """Preview a bulk action on all jobs that the list matches."""
    return await pages.post("/bulk", page.selection.with_(action=action, scope="all", **changes))


async def test_all_jobs_of_a_filter_are_previewed_and_then_done(
    pages: PageReader, job_factory: JobFactory
) -> None:
    for n in range(3):
        await job_factory.dead(f"d{n}", batch="b")
    await job_factory.dead("other")
    await job_factory.ran("model/gpt-image-2", cost=8.0)
    listed = await pages.get("/dead?batch=b")
    preview = await preview_all(pages, listed, "requeue", note="fixed")
    assert "Would requeue 3 jobs" in preview.text
    assert "about 24 credits" in preview.text
    assert await states(job_factory.store) == {State.DEAD: 4}, "a preview changes nothing"
    done = await pages.send(preview, "/bulk/confirm")
    assert "Requeued 3 jobs" in done.text
    assert await states(job_factory.store) == {State.DEAD: 1, State.QUEUED: 3}
    (line,) = await latest_audit_entries(job_factory.store, 5)
    assert (line["act"], line["jobs"], line["note"]) == ("bulk_requeue", "3", "fixed")
    assert line["on"] == '{"state":"dead","batch":"b"}'


async def test_uncertain_jobs_of_one_cause_are_resubmitted_from_their_card(
    pages: PageReader, job_factory: JobFactory
) -> None:
    for n in range(3):
        await job_factory.uncertain(f"p{n}", "HTTP_502")
    await job_factory.uncertain("other", "worker_lost")
    page = await pages.get("/parked")
    assert "worker lost" in page.text
    (form,) = (
        form
        for form in page.html.forms
        if form.action == "/bulk" and ("cause", "HTTP_502") in form.fields
    )
    assert ("action", "resubmit") in form.buttons
    preview = await pages.post("/bulk", form.with_(action="resubmit"))
    assert "Would resubmit 3 jobs" in preview.text
    assert "paid twice" in preview.text
    await pages.send(preview, "/bulk/confirm")
    assert await states(job_factory.store) == {State.PARKED: 1, State.QUEUED: 3}


async def test_a_preview_says_which_jobs_have_lost_their_inputs(
    pages: PageReader, job_factory: JobFactory
) -> None:
    store = job_factory.store
    await job_factory.dead("a")
    await job_factory.dead("b")
    page = await pages.get("/dead")
    assert "Without inputs" not in (await preview_all(pages, page, "requeue")).text
    await store.client.call("HDEL", store.keys.job("a"), "inputs")
    preview = await preview_all(pages, page, "requeue")
    assert "Without inputs among them" in preview.text
    assert "1: Redis lost their inputs" in preview.text


async def test_stuck_runs_are_released_with_words_that_fit(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.stuck("s")
    page = await pages.get("/parked?code=stuck")
    preview = await preview_all(pages, page, "release")
    done = await pages.send(preview, "/bulk/confirm")
    assert "polled for another deadline, nothing is sent" in done.text


async def test_only_selected_jobs_are_affected(pages: PageReader, job_factory: JobFactory) -> None:
    for n in range(3):
        await job_factory.held(f"h{n}")
    page = await pages.get("/parked")
    form = page.selection
    assert set(form.checkboxes) == {"h0", "h1", "h2"}
    fields = [*form.with_(action="discard", scope="selected"), ("ids", "h0"), ("ids", "h2")]
    preview = await pages.post("/bulk", fields)
    assert "Would discard 2 jobs" in preview.text
    await pages.post("/bulk/confirm", preview.form("/bulk/confirm").fields)
    assert await states(job_factory.store) == {State.PARKED: 1, State.CANCELLED: 2}


async def test_an_empty_selection_is_refused(pages: PageReader, job_factory: JobFactory) -> None:
    await job_factory.held()
    page = await pages.get("/parked")
    refused = await pages.post("/bulk", page.selection.with_(action="discard", scope="selected"))
    assert "Not done: selection is empty" in refused.text
    assert await states(job_factory.store) == {State.PARKED: 1}


async def test_a_patch_is_shown_as_a_difference_before_it_is_sent(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.dead("d1")
    page = await pages.get("/dead")
    preview = await preview_all(pages, page, "requeue", patch='{"prompt": null, "steps": 20}')
    assert '- "prompt": "a cat"' in preview.text
    assert '+ "steps": 20' in preview.text
    assert (await job_factory.store.payloads.read("d1")).inputs == b'{"prompt":"a cat"}'
    await pages.send(preview, "/bulk/confirm")
    assert (await job_factory.store.payloads.read("d1")).inputs == b'{"steps":20}'


async def test_a_bulk_action_affects_the_whole_group(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.dead("d1")
    await job_factory.dead("d2")
    await job_factory.dead("other", target="suno")
    page = await pages.get("/dead")
    groups = [form for form in page.html.forms if ("target", "gpt-image-2") in form.fields]
    assert ("action", "requeue") in groups[0].buttons
    preview = await pages.post("/bulk", [*groups[0].fields, ("action", "requeue")])
    assert "Would requeue 2 jobs" in preview.text
    await pages.send(preview, "/bulk/confirm")
    assert await states(job_factory.store) == {State.DEAD: 1, State.QUEUED: 2}


async def test_a_release_opens_the_hold_and_says_so(
    pages: PageReader, job_factory: JobFactory
) -> None:
    hold = Hold(id="h", scope=Scope("default"), code="INSUFFICIENT_CREDITS", created_at=1.0)
    await job_factory.store.holds.change(hold.key, lambda _: hold)
    await job_factory.held("j1", hold)
    await job_factory.queued("j2")
    narrow = await preview_all(pages, await pages.get("/parked?target=gpt-image-2"), "release")
    assert "Holds that would open 1" in narrow.text
    tagged = await preview_all(pages, await pages.get("/parked"), "release", target="suno")
    assert "No jobs to release" in tagged.text


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"action": "explode"}, "action must be one of"),
        ({"action": "release", "state": "dead", "scope": "all"}, "release does not apply to it"),
        ({"action": "discard", "scope": "filter"}, "filter matches every job"),
        ({"action": "requeue", "state": "dead", "patch": "[]"}, "patch must be a JSON object"),
        ({"action": "discard", "state": "dead", "since": "soon"}, "since must be a time"),
    ],
)
async def test_an_invalid_request_is_refused(
    pages: PageReader, job_factory: JobFactory, fields: dict[str, str], error: str
) -> None:
    await job_factory.dead()
    csrf = dict((await pages.get("/dead")).form("/bulk").fields)["csrf"]
    page = await pages.post("/bulk", [("csrf", csrf), ("back", "/dead"), *fields.items()])
    assert f"Not done: {error}" in page.text or error in page.text
    assert await states(job_factory.store) == {State.DEAD: 1}


async def test_an_interrupted_action_is_on_record_with_what_it_did(
    store: Store, settings: Settings, job_factory: JobFactory
) -> None:
    for n in range(120):
        await job_factory.dead(f"d{n}")
    clock = SystemClock()
    bulk_actions = build_use_cases(settings, store, clock).bulk
    runs = BackgroundBulks(bulk_actions, clock)
    selection = JobSelection(Filter(state=State.DEAD), "all dead letters")
    run = await runs.start(
        BulkRequest(BulkAction.DISCARD, selection),
        Actor("ann"),
        form_fields={},
        ids=(),
        expected_jobs=120,
        wait_s=0.0,
    )
    while not run.counts.done:  # noqa: ASYNC110 - the counts have no event to await
        await asyncio.sleep(0)
    await runs.close()
    assert run.ended_at is not None
    left = (await states(store)).get(State.DEAD, 0)
    assert 0 < left < 120
    (line,) = await latest_audit_entries(store, 5)
    assert line["act"] == "bulk_discard"
    assert 0 < int(line["jobs"]) <= 120 - left


async def test_the_number_of_concurrent_bulk_actions_is_limited(
    pages: PageReader, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job_factory.dead()
    monkeypatch.setattr(background_bulk, "MAX_RUNNING", 0)
    refused = await preview_all(pages, await pages.get("/dead"), "discard")
    assert "wait until one ends" in refused.text


async def test_an_unknown_run_points_to_the_audit_log(pages: PageReader) -> None:
    page = await pages.get("/bulk/0123456789abcdef")
    assert page.status == 404
    assert "the audit log records what was done" in page.text


async def test_a_group_action_keeps_the_filter_of_the_page(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.dead("d1", batch="b")
    await job_factory.dead("d2")
    page = await pages.get("/dead?batch=b")
    group = next(form for form in page.html.forms if ("scope", "filter") in form.fields)
    preview = await pages.post("/bulk", [*group.fields, ("action", "discard")])
    assert "Would discard 1 job" in preview.text
