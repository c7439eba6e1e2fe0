"""Every page renders, empty and with jobs of every state."""

import msgspec
import pytest

from config.settings import Settings
from jobs.job import JOB_SCHEMA
from jobs.lanes import Scope
from tests.api.job_factory import JobFactory
from tests.dashboard.conftest import OpenPages
from tests.dashboard.page_reader import PageReader
from worker.app.actions import Actions, Actor
from worker.cli.up.plan import free_port
from worker.clock import SystemClock
from worker.redis.connect import connect
from worker.store import open_store
from worker.store.workers import Heartbeat

LISTS = (
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


@pytest.mark.parametrize("path", LISTS)
async def test_the_pages_of_an_empty_system_say_that_they_are_empty(
    pages: PageReader, path: str
) -> None:
    page = await pages.get(path)
    assert page.status == 200, page.text
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert any("empty" in facts.get("class", "") for facts in page.tags("p")), page.text


@pytest.mark.parametrize("path", LISTS)
async def test_every_list_shows_jobs_of_every_state(
    pages: PageReader, job_factory: JobFactory, path: str
) -> None:
    await every_state(job_factory)
    page = await pages.get(path)
    assert page.status == 200, page.text


@pytest.mark.parametrize(
    "job",
    [
        "queued",
        "submitting",
        "running",
        "succeeded",
        "retrying",
        "dead",
        "held",
        "uncertain",
        "stuck",
    ],
)
async def test_a_job_of_every_state_has_its_page(
    pages: PageReader, job_factory: JobFactory, job: str
) -> None:
    await every_state(job_factory)
    page = await pages.get(f"/jobs/{job}")
    assert page.status == 200, page.text
    assert job in page.text


async def every_state(job_factory: JobFactory) -> None:
    """Create a job of each state, with the state as its id."""
    await job_factory.queued("queued", batch="b1", tags=("red",))
    await job_factory.submitting("submitting")
    await job_factory.running("running")
    await job_factory.succeeded("succeeded", b'{"images": ["https://cdn.knouds.ai/1.png"]}')
    await job_factory.retrying("retrying")
    await job_factory.dead("dead", batch="b1")
    await job_factory.held("held")
    await job_factory.uncertain("uncertain")
    await job_factory.stuck("stuck")
    actions = Actions(job_factory.store, SystemClock())
    await actions.place_hold(Scope("default/model/suno"), Actor("ann", "maintenance"))


async def test_a_page_without_redis_says_so(
    open_pages: OpenPages, settings: Settings, namespace: str
) -> None:
    redis = connect(settings, f"redis://127.0.0.1:{free_port()}/0")
    async with open_pages(open_store(redis, namespace), settings) as pages:
        page = await pages.get("/")
        assert page.status == 503
        assert "Redis is not available" in page.text
    await redis.aclose(close_connection_pool=True)


async def test_a_job_that_does_not_exist_is_named(pages: PageReader) -> None:
    page = await pages.get("/jobs/none")
    assert page.status == 404
    assert "there is no job 'none'" in page.text


async def test_the_lanes_of_an_account_that_waits_for_a_poll_say_so(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued("a")
    now = SystemClock().now()
    beat = Heartbeat(
        id="w1", host="h", pid=1, started_at=now, seen_at=now, unproved_accounts=("default",)
    )
    await job_factory.store.workers.record_heartbeat(beat)
    assert "waits for a poll" in (await pages.get("/")).text


async def test_the_pages_offer_no_action_on_what_a_newer_version_wrote(
    pages: PageReader, job_factory: JobFactory
) -> None:
    store = job_factory.store
    job = await job_factory.held("newer")
    record = msgspec.to_builtins(job) | {"schema": JOB_SCHEMA + 1}
    await store.client.call("HSET", store.keys.job(job.id), "rec", msgspec.json.encode(record))
    await store.client.call("HSET", store.keys.holds, "default/model|X", b'{"schema":2}')
    for path in ("/jobs/newer", "/parked", "/holds"):
        page = await pages.get(path)
        assert "newer version" in page.text
        forms = [form.action for form in page.html.forms]
        assert not [one for one in forms if "/release" in one or "/actions/" in one]
        groups = [form for form in page.html.forms if ("scope", "filter") in form.fields]
        assert not [button for form in groups for button in form.buttons if button[0] == "action"]
