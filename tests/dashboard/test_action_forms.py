"""Operator actions through forms: each states its effect, is done, and reports its result."""

import pytest

from jobs.holds import Hold
from jobs.lanes import Lane, Scope
from jobs.states import Kind, State
from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import HtmlPage, PageReader
from tests.store.redis_contents import latest_audit_entries
from worker.app.action_table import JobAction
from worker.app.actions import Actions, Actor
from worker.clock import SystemClock
from worker.store import Store

LANE = Lane("default", Kind.MODEL, "gpt-image-2")
ANN = Actor("ann", "")


async def state_of(store: Store, job_id: str) -> State:
    stored = await store.jobs.load(job_id)
    assert stored is not None
    return stored.job.state


@pytest.mark.parametrize(
    ("case", "effect", "state_after"),
    [
        (("queued", "park"), "Nothing is sent until an operator releases it", State.PARKED),
        (("queued", "cancel"), "nothing is charged", State.CANCELLED),
        (("running", "cancel"), "Asks the provider", State.CANCELLING),
        (("held", "release"), "Returns it to the queue", State.QUEUED),
        (("held", "discard"), "Gives it up", State.CANCELLED),
        (
            ("dead", "requeue"),
            "a new set of attempts; its history is kept (5 attempts",
            State.QUEUED,
        ),
        (("dead", "discard"), "Gives it up", State.CANCELLED),
        (("stuck", "release"), "Polls its run for another", State.RUNNING),
        (("uncertain", "resubmit"), "it is paid twice", State.QUEUED),
        (("uncertain", "discard"), "Gives it up", State.CANCELLED),
    ],
)
async def test_an_action_says_its_effect_and_does_it(
    pages: PageReader,
    job_factory: JobFactory,
    case: tuple[str, str],
    effect: str,
    state_after: State,
) -> None:
    method, action = case
    said = "nothing is sent" if case == ("stuck", "release") else ""
    await getattr(job_factory, method)()
    before = await pages.get("/jobs/job")
    assert effect in before.text
    after = await pages.send(before, f"/jobs/job/actions/{action}", note="because")
    assert after.status == 200
    assert await state_of(job_factory.store, "job") is state_after
    assert (said or f"job is now {state_after}") in after.text
    assert "because" in after.text, "the history names the note"
    (line,) = (await latest_audit_entries(job_factory.store, 5))[:1]
    assert (line["by"], line["note"]) == ("local", "because")


@pytest.mark.parametrize(
    ("method", "action"), [("held", "release"), ("dead", "requeue"), ("uncertain", "resubmit")]
)
async def test_a_job_without_inputs_says_so_before_it_is_sent(
    pages: PageReader, job_factory: JobFactory, method: str, action: str
) -> None:
    await getattr(job_factory, method)()
    store = job_factory.store
    await store.client.call("HDEL", store.keys.job("job"), "inputs")
    page = await pages.get("/jobs/job")
    assert page.form(f"/jobs/job/actions/{action}") is not None
    assert "It has lost its inputs, so it would only park as inputs_lost" in page.text
    assert "Lost: Redis has no inputs of this job" in page.text
    if action == "requeue":
        form = await pages.get("/jobs/job/requeue")
        assert "It has lost its inputs, so it would only park as inputs_lost" in form.text
        assert "there are none any more; enter new ones" in form.text


async def test_the_result_of_an_action_is_shown_once(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued()
    await pages.send(await pages.get("/jobs/job"), "/jobs/job/actions/park")
    assert "Parked: job" not in (await pages.get("/jobs/job")).text


async def test_an_uncertain_job_is_attached_to_the_run_that_was_found(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.uncertain()
    page = await pages.get("/jobs/job")
    assert "timeout" in page.text
    await pages.send(page, "/jobs/job/actions/attach", execution_id="exec-7")
    stored = await job_factory.store.jobs.load("job")
    assert stored is not None
    assert (stored.job.state, stored.job.execution_id) == (State.RUNNING, "exec-7")


async def test_an_action_that_came_too_late_is_refused_with_the_reason(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.dead()
    page = await pages.get("/jobs/job")
    await Actions(job_factory.store, SystemClock()).act(JobAction.DISCARD, "job", ANN)
    after = await pages.send(page, "/jobs/job/actions/requeue")
    assert "Not done: cannot requeue a job that is cancelled" in after.text


async def test_a_dead_letter_keeps_its_history_when_it_is_requeued(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.dead()
    page = await pages.send(await pages.get("/jobs/job"), "/jobs/job/actions/requeue")
    assert "INVALID_INPUTS" in page.text
    assert "Attempt 1" in page.text


async def test_a_note_too_long_is_refused(pages: PageReader, job_factory: JobFactory) -> None:
    await job_factory.queued()
    page = await pages.get("/jobs/job")
    after = await pages.send(page, "/jobs/job/actions/park", note="x" * 1_001)
    assert "Not done: note must be a text of at most 1000 characters" in after.text
    assert await state_of(job_factory.store, "job") is State.QUEUED


# Inputs.


async def test_edited_inputs_are_shown_as_a_difference_before_they_are_sent(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.dead()
    form = await pages.get("/jobs/job/requeue")
    shown = await pages.send(
        form, "/jobs/job/requeue", inputs='{"prompt": "a dog"}', patch='{"n": 2}', step="preview"
    )
    assert '- "prompt": "a cat"' in shown.text
    assert '+ "prompt": "a dog"' in shown.text
    assert '"n": 2' in shown.text
    assert await state_of(job_factory.store, "job") is State.DEAD, "a preview changes nothing"
    await pages.send(shown, "/jobs/job/requeue", step="requeue")
    inputs = (await job_factory.store.payloads.read("job")).inputs
    assert inputs == b'{"n":2,"prompt":"a dog"}'
    assert await state_of(job_factory.store, "job") is State.QUEUED


@pytest.mark.parametrize(
    ("inputs_text", "error"),
    [
        ("{", "inputs cannot be read: it is not JSON"),
        ("[1]", "inputs must be a JSON object"),
        ('{"a": 1, "a": 2}', "a name appears twice in one object"),
        ('{"a": "\\ud800"}', "half a surrogate pair"),
    ],
)
async def test_invalid_inputs_are_explained_beside_the_submitted_text(
    pages: PageReader, job_factory: JobFactory, inputs_text: str, error: str
) -> None:
    await job_factory.dead()
    form = await pages.get("/jobs/job/requeue")
    page = await pages.send(form, "/jobs/job/requeue", inputs=inputs_text, step="requeue")
    assert page.status == 422
    assert error in page.text
    assert ("inputs", inputs_text) in page.form("/jobs/job/requeue").fields
    assert await state_of(job_factory.store, "job") is State.DEAD


async def test_a_similar_job_is_enqueued_as_a_new_job(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.succeeded()
    form = await pages.get("/jobs/job/similar")
    page = await pages.send(form, "/jobs/job/similar", inputs='{"prompt": "two cats"}', tags="a b")
    assert "similar to job" in page.text
    new = page.url.rpartition("/")[2]
    stored = await job_factory.store.jobs.load(new)
    assert stored is not None
    assert (stored.job.target, stored.job.tags) == ("gpt-image-2", ("a", "b"))
    assert (await job_factory.store.payloads.read(new)).inputs == b'{"prompt":"two cats"}'


# Holds.


async def hold(store: Store) -> Hold:
    """A hold as a 402 places it."""
    new = Hold(
        id="h1",
        scope=Scope("default"),
        code="INSUFFICIENT_CREDITS",
        created_at=SystemClock().now(),
        message="balance too low",
        action="Top up account default in Settings → Billing, then release the hold",
    )
    found = await store.holds.change(new.key, lambda _: new)
    assert found is not None
    return found


async def test_a_hold_says_what_to_do_and_is_released(
    pages: PageReader, job_factory: JobFactory
) -> None:
    placed = await hold(job_factory.store)
    await job_factory.held("j1", placed)
    await job_factory.held("j2", placed)
    await job_factory.queued("j3")
    for path in ("/", "/holds"):
        page = await pages.get(path)
        assert "Top up account default" in page.text
        assert "2 jobs parked, 1 job queued behind it" in page.text
        assert "Queues 2 jobs; one canary is sent first" in page.text
        assert "2 other jobs will not be sent" in page.text
    after = await pages.send(page, "/holds/h1/release", note="paid")
    assert "2 jobs queued; one canary is sent first" in after.text
    assert await state_of(job_factory.store, "j1") is State.QUEUED
    assert not after.has_form("/holds/h1/release"), "an opening hold has no release form"


async def test_a_pause_is_placed_and_ended(pages: PageReader, job_factory: JobFactory) -> None:
    page = await pages.get("/holds")
    paused = await pages.send(page, "/holds", scope="default/model/suno", note="maintenance")
    assert "Paused default/model/suno" in paused.text
    (placed,) = await job_factory.store.holds.list_all()
    ended = await pages.send(paused, f"/holds/{placed.id}/release")
    assert "No active holds" in ended.text
    wrong = await pages.send(page, "/holds", scope="Not/a scope")
    assert "Not done: scope must be default, default/model" in wrong.text


async def test_the_summary_counts_what_needs_an_operator(
    pages: PageReader, job_factory: JobFactory
) -> None:
    placed = await hold(job_factory.store)
    await job_factory.held("j1", placed)
    await job_factory.uncertain("j2")
    await job_factory.dead("j3")
    page: HtmlPage = await pages.get("/")
    assert (
        "3 issues need your attention: INSUFFICIENT_CREDITS on default (1 job waits)" in page.text
    )
    assert "1 uncertain job on gpt-image-2" in page.text
    assert "1 dead letter: INVALID_INPUTS on gpt-image-2" in page.text


async def test_the_summary_says_that_nothing_needs_an_operator(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.succeeded()
    assert "All good: nothing needs your attention" in (await pages.get("/")).text


async def test_jobs_without_a_worker_are_shown(pages: PageReader, job_factory: JobFactory) -> None:
    await job_factory.queued()
    assert "No worker is running, and 1 job waits for one" in (await pages.get("/")).text


async def test_a_similar_job_shows_its_estimate_and_what_its_workflow_does_not_take(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.list_workflows()
    await job_factory.dead("job", kind=Kind.WORKFLOW, target="shots")
    form = await pages.get("/jobs/job/similar")
    assert "about 16 credits" in form.text
    page = await pages.send(form, "/jobs/job/similar", inputs='{"image": "x", "imgae": "y"}')
    assert "Warning: inputs.imgae is no field of the workflow: it takes image, prompt" in page.text
    page = await pages.send(form, "/jobs/job/similar", inputs='{"image": "x"}')
    assert "Warning" not in page.text


async def test_a_preview_of_changed_inputs_warns_before_they_are_sent(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.list_workflows()
    await job_factory.dead("job", kind=Kind.WORKFLOW, target="shots")
    form = await pages.get("/jobs/job/requeue")
    preview = await pages.send(form, "/jobs/job/requeue", inputs='{"x": 1}', step="preview")
    assert "Warning: inputs.image is missing" in preview.text
    assert "Warning: inputs.x is no field" in preview.text
    assert await state_of(job_factory.store, "job") is State.DEAD
    done = await pages.send(preview, "/jobs/job/requeue", step="requeue")
    assert "Warning: inputs.image is missing" in done.text
    assert await state_of(job_factory.store, "job") is State.QUEUED
