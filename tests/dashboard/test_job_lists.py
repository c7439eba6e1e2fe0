"""Job lists: filters in the URL, pages by cursor, and different texts for empty and filtered."""

import asyncio
from urllib.parse import urlsplit

import pytest

from jobs.lanes import JobId
from jobs.requests import JobRequest, new_job
from jobs.states import Kind, State
from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import HtmlPage, PageReader
from worker.clock import SystemClock
from worker.dashboard.pages import bulk
from worker.store import Store


def shown(page: HtmlPage) -> list[str]:
    """The ids of the listed jobs, in order."""
    return [row["data-id"] for row in page.tags("tr") if "data-id" in row]


async def many(store: Store, count: int, **options: str) -> None:
    """Create queued jobs `j0000`, `j0001`, …; the last one is the newest."""
    now = SystemClock().now()
    request = JobRequest(
        kind=Kind.MODEL, target="gpt-image-2", inputs=b"{}", batch=options.get("batch")
    )
    jobs = [
        new_job(request, JobId(f"j{n:04}"), now + n / 1e3, max_attempts=5, deadline_s=60.0)
        for n in range(count)
    ]
    for first in range(0, count, 200):
        chunk = jobs[first : first + 200]
        assert all(await asyncio.gather(*(store.jobs.create(job, request.inputs) for job in chunk)))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("state=dead", ["dead"]),
        ("kind=workflow", []),
        ("target=suno", ["suno"]),
        ("code=INVALID_INPUTS", ["dead"]),
        ("tag=red", ["tagged"]),
        ("batch=b1", ["batched"]),
        ("account=studio", []),
        ("since=1h&state=dead", ["dead"]),
        ("until=1h", []),
        ("since=2020-01-31&until=2020-02-01", []),
        ("state=&kind=&target=suno&code=&since=", ["suno"]),
    ],
)
async def test_each_query_field_filters(
    pages: PageReader, job_factory: JobFactory, query: str, wanted: list[str]
) -> None:
    await job_factory.dead("dead")
    await job_factory.queued("suno", target="suno")
    await job_factory.queued("tagged", tags=("red",))
    await job_factory.queued("batched", batch="b1")
    page = await pages.get(f"/jobs?{query}")
    assert page.status == 200
    assert shown(page) == wanted
    says_no_match = "No job matches the filter" in page.text
    assert says_no_match == (not wanted)


async def test_the_filter_is_kept_in_its_form_and_in_the_bulk_form(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.dead("dead", batch="b1")
    page = await pages.get("/jobs?state=dead&batch=b1")
    form = dict(page.form("/jobs").fields) | dict(page.html.forms[1].fields)
    assert (form["state"], form["batch"]) == ("dead", "b1")
    kept = dict(page.selection.fields)
    assert (kept["state"], kept["batch"]) == ("dead", "b1")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("state=lost", "state must be one of scheduled"),
        ("target=Not%20one", "target must be a target"),
        ("since=soon", "since must be a time such as"),
        ("cursor=zzz", "cursor is not one this list gave out"),
    ],
)
async def test_an_invalid_filter_shows_no_jobs_and_the_error(
    pages: PageReader, job_factory: JobFactory, query: str, error: str
) -> None:
    await job_factory.queued()
    page = await pages.get(f"/jobs?{query}")
    assert page.status == 400
    assert error in page.text
    assert shown(page) == []


async def test_each_page_continues_the_previous_one(pages: PageReader, store: Store) -> None:
    await many(store, 120)
    listed: list[str] = []
    path = "/jobs?state=queued"
    for _ in range(3):
        page = await pages.get(path)
        assert "of 120" in page.text
        listed += shown(page)
        path = next((link for link in page.html.links if "cursor=" in link), "")
    assert listed == [f"j{n:04}" for n in reversed(range(120))]
    assert not path


async def test_the_number_of_matches_is_shown_if_an_index_has_it(
    pages: PageReader, store: Store
) -> None:
    await many(store, 60, batch="b")
    page = await pages.get("/jobs?state=queued&batch=b")
    assert "All 60 matching jobs" in page.text


async def test_a_job_is_found_by_id_execution_id_and_prefix(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued("alpha-1")
    await job_factory.queued("alpha-2")
    await job_factory.running("beta")
    for wanted in ("alpha-1", "%20alpha-1%20"):
        assert urlsplit((await pages.get(f"/jobs?id={wanted}")).url).path == "/jobs/alpha-1"
    assert urlsplit((await pages.get("/jobs?id=exec-beta")).url).path == "/jobs/beta"
    assert urlsplit((await pages.get("/jobs?id=bet")).url).path == "/jobs/beta"
    assert set(shown(await pages.get("/jobs?id=alpha"))) == {"alpha-1", "alpha-2"}
    none = await pages.get("/jobs?id=gamma")
    assert none.status == 404
    assert "No job has the ID or execution ID gamma" in none.text


async def test_groups_distinguish_empty_from_filtered(
    pages: PageReader, job_factory: JobFactory
) -> None:
    assert "No dead letters." in (await pages.get("/dead?target=suno")).text
    await job_factory.dead("dead")
    assert "The filter hides 1 group" in (await pages.get("/dead?target=suno")).text


async def test_a_batch_is_counted_and_found(pages: PageReader, job_factory: JobFactory) -> None:
    await job_factory.succeeded("s", b"{}")
    await job_factory.queued("q", batch="b1")
    await job_factory.dead("d", batch="b1")
    await job_factory.held("h", batch="b1")
    page = await pages.get("/batches?name=b1")
    assert "Batch b1" in page.text
    assert "INSUFFICIENT_CREDITS 1" in page.text
    assert "/dead?batch=b1" in page.html.links
    assert shown(await pages.get("/batches")) == ["b1"]
    assert (await pages.get("/batches?name=b2")).status == 404


async def test_a_refresh_gets_only_the_parts_that_change(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued()
    page, part = await pages.get("/jobs"), await pages.get("/jobs", **{"X-Partial": "1"})
    assert shown(part) == shown(page) == ["job"]
    assert "<html" not in part.source
    assert len(part.body) < len(page.body)
    assert [main.get("id") for main in part.tags("main")] == ["main"]


async def test_programs_get_the_index_as_json(pages: PageReader) -> None:
    async with pages.http.get(pages.url + "/") as response:
        assert response.content_type == "application/json"
        assert (await response.json())["service"] == "knouds-worker"


async def test_static_files_are_cached_forever(pages: PageReader) -> None:
    page = await pages.get("/")
    names = [link["href"] for link in page.tags("link")]
    names += [script["src"] for script in page.tags("script")]
    assert len(names) == 4
    for name in names:
        file = await pages.get(name)
        assert file.status == 200
        assert "immutable" in file.headers["Cache-Control"]
    assert (await pages.get("/static/0/dashboard.js")).headers["Cache-Control"] == "no-store"
    assert (await pages.get("/static/0/..%2froutes.py")).status == 404


async def test_a_long_bulk_action_shows_its_progress(
    pages: PageReader, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PREVIEW_WAIT_S", 0.0)
    monkeypatch.setattr(bulk, "START_WAIT_S", 0.0)
    await many(store, 1_500)
    page = await pages.get("/jobs?state=queued")
    preview = await pages.post("/bulk", page.selection.with_(action="cancel", scope="all"))
    assert "/bulk/" in preview.url
    assert "Counting" in preview.text
    preview = await until(pages, preview.url, "Would cancel 1 500 jobs")
    done = await pages.send(preview, "/bulk/confirm")
    assert "In progress" in done.text
    assert done.tags("progress")[0]["max"] == "1500"
    assert done.tags("meta")[-1]["content"].startswith("1; url=/bulk/")
    await until(pages, done.url, "Cancelled 1 500 jobs")
    counts, _ = await store.read.queries.state_counts()
    assert counts[State.CANCELLED] == 1_500


async def until(pages: PageReader, url: str, text: str) -> HtmlPage:
    """Reload a page until it contains a text."""
    async with asyncio.timeout(20):
        while True:
            page = await pages.get(urlsplit(url).path)
            if text in page.text:
                return page
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("path", ["/jobs", "/jobs?id=bad"])
async def test_a_page_that_meets_an_unreadable_record_makes_a_dead_letter_of_it(
    pages: PageReader, store: Store, job_factory: JobFactory, path: str
) -> None:
    await job_factory.queued("bad1", batch="b")
    await job_factory.queued("bad2", batch="b")
    for job_id in ("bad1", "bad2"):
        await store.client.call("HSET", store.keys.job(job_id), "rec", b"garbage{")
    await pages.get(path)
    counts, _ = await store.read.queries.state_counts()
    assert (counts[State.QUEUED], counts[State.DEAD]) == (0, 2)
