"""The page of credits: what it shows of the ledger, and how it answers wrong periods."""

from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

import pytest

from config.settings import Settings
from config.values import Role
from jobs import transitions
from jobs.credits.charges import MICRO, OTHER, Dimension, Measure
from jobs.outcomes import Finished, ProviderError
from tests.api.job_factory import JobFactory
from tests.dashboard.conftest import OpenPages
from tests.dashboard.page_reader import HtmlPage, PageReader
from tests.dashboard.test_hostile_text import QUOTES, RTL, SCRIPT, check_harmless
from tests.dashboard.test_page_roles import logged_in
from tests.unit.core import job_builders as build
from worker.dashboard.views.bar_charts import BarChartTexts, BarSeries, draw_bars
from worker.dashboard.views.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from worker.store import Store

LANE = "studio/model/suno"


def day(days_ago: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days_ago)


async def book(
    store: Store,
    name: str,
    dimension: Dimension = Dimension.LANE,
    *,
    days_ago: int = 0,
    **amounts: float,
) -> None:
    """Add credits, or numbers, to a row of the ledger; `charges` is 1 by default."""
    for measure, amount in {"charges": 1, **amounts}.items():
        unit = 1 if measure in (Measure.CHARGES, Measure.UNKNOWN) else MICRO
        await store.client.call(
            "HINCRBY",
            store.keys.ledger(str(day(days_ago)), dimension, measure),
            name,
            int(amount * unit),
        )


def titles(page: HtmlPage) -> int:
    """How many bars or groups of bars the charts have."""
    return len([one for one in page.tags("g") if one.get("class") == "slot"])


async def test_the_totals_say_what_each_is(pages: PageReader, store: Store) -> None:
    await book(store, LANE, credits=8, estimated=2, retries=1, dead=4, charges=3, unknown=1)
    text = (await pages.get("/credits")).text
    assert "Credits 8 What the attempts cost that ended on these days" in text
    assert "Charges 3 Attempts that cost something" in text
    assert "Estimated 2 (25 %) The part that is an estimate" in text
    assert "Unknown cost 1 Charges whose cost is unknown" in text
    assert "Retries 1 (12 %) The part of attempts that another attempt" in text
    assert "Dead letters 4 (50 %) The part of jobs that are dead letters" in text


async def test_every_table_leads_to_the_jobs_of_its_rows(pages: PageReader, store: Store) -> None:
    await book(store, LANE, credits=8)
    await book(store, "a/b+=c@d:e", Dimension.TAG, credits=8)
    await book(store, "spring/2026", Dimension.BATCH, credits=8)
    page = await pages.get("/credits")
    for link in (
        "/jobs?kind=model&target=suno",
        "/jobs?account=studio",
        f"/jobs?tag={quote('a/b+=c@d:e', safe='')}",
        f"/jobs?batch={quote('spring/2026', safe='')}",
    ):
        assert link in page.html.links
        assert (await pages.get(link)).status == 200, link


async def test_the_sum_of_further_names_leads_nowhere(pages: PageReader, store: Store) -> None:
    await book(store, f"studio/model/{OTHER}", credits=8)
    await book(store, OTHER, Dimension.TAG, credits=8)
    page = await pages.get("/credits")
    assert "other (all others of busy days)" in page.text
    assert not [link for link in page.html.links if "other" in link]


async def test_the_most_expensive_rows_come_first_and_the_rest_are_counted(
    pages: PageReader, store: Store
) -> None:
    for n in range(23):
        await book(store, f"default/model/m-{n}", credits=n + 1)
    page = await pages.get("/credits")
    links = [link for link in page.html.links if link.startswith("/jobs?kind")]
    assert links[0] == "/jobs?kind=model&target=m-22"
    assert len(links) == 20
    assert "… and 3 more." in page.text


@pytest.mark.parametrize(
    ("query", "spent"),
    [("", 3), ("?days=7", 1), ("?days=30", 3), ("?days=90", 7), ("?days=365", 15)],
)
async def test_a_period_is_days_up_to_today(
    pages: PageReader, store: Store, query: str, spent: int
) -> None:
    for days_ago, cost in ((6, 1), (7, 2), (89, 4), (364, 8), (365, 16)):
        await book(store, LANE, days_ago=days_ago, credits=cost)
    page = await pages.get(f"/credits{query}")
    assert f"Credits {spent} What" in page.text
    (chosen,) = [one for one in page.tags("a") if one.get("aria-current") == "true"]
    assert chosen["href"] == (f"/credits{query}" if query else "/credits?days=30")


async def test_a_period_is_two_days_and_all_between(pages: PageReader, store: Store) -> None:
    for days_ago in range(4):
        await book(store, LANE, days_ago=days_ago, credits=10**days_ago)
    page = await pages.get(f"/credits?since={day(2)}&until={day(1)}")
    assert "Credits 110 What" in page.text
    assert titles(page) == 2
    for by in ("day", "target", "account"):
        (link,) = [one for one in page.html.links if f"credits.csv?by={by}&" in one]
        csv = (await pages.get(link)).body.decode()
        assert sum(float(line.split(",")[1]) for line in csv.splitlines()[1:]) == 110


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("days=8", "days must be one of 7, 30, 90, 365"),
        ("days=-7", "days must be one of"),
        ("days=٧", "days must be one of"),
        ("days=7&since=2026-11-01", "give days alone, or since and until"),
        ("since=2026-02-30", "must be the first day, as 2026-11-01"),
        ("until=<script>", "must be the last day, as 2026-11-30"),
        ("since=2026-03-02&until=2026-03-01", "2026-03-02 is after `until` (2026-03-01)"),
        ("since=2024-01-01&until=2026-03-01", "at most 400 days at once"),
    ],
)
async def test_a_wrong_period_is_named_and_shows_no_credits(
    pages: PageReader, store: Store, query: str, text: str
) -> None:
    await book(store, LANE, credits=8)
    page = await pages.get(f"/credits?{query}")
    assert page.status == 400
    assert text in page.text
    assert "Fix the period" in page.text
    assert not page.tags("table")
    check_harmless(page)


@pytest.mark.parametrize("query", ["until=0001-01-03", "until=9999-12-31", "since=&until=&days="])
async def test_days_without_charges_say_so(pages: PageReader, query: str) -> None:
    page = await pages.get(f"/credits?{query}")
    assert page.status == 200, page.text
    assert "No attempt that was charged ended on these days." in page.text


@pytest.mark.parametrize("name", [SCRIPT, QUOTES, RTL, "=cmd()", "x" * 5_000])
async def test_hostile_names_are_texts(pages: PageReader, store: Store, name: str) -> None:
    await book(store, f"{name}/model/{name}", credits=8)
    for dimension in (Dimension.TAG, Dimension.BATCH):
        await book(store, name, dimension, credits=8)
    page = await pages.get("/credits")
    assert page.status == 200, page.text
    check_harmless(page)
    assert "\u202e" not in page.source


async def test_a_year_of_every_day_is_a_page_of_bounded_size(
    pages: PageReader, store: Store
) -> None:
    for days_ago in range(365):
        await book(store, LANE, days_ago=days_ago, credits=7.123456, estimated=1, retries=2, dead=3)
    page = await pages.get("/credits?days=365")
    assert titles(page) == 2 * 365
    assert len(page.body) < 400_000


@pytest.mark.parametrize("role", Role)
async def test_the_link_is_there_for_roles_that_the_page_is_open_to(
    open_pages: OpenPages, store: Store, settings: Settings, role: Role
) -> None:
    async with logged_in(open_pages, store, settings, role) as pages:
        is_open = (await pages.get("/credits")).status == 200
        assert is_open is role.covers(Role.READ)
        assert ("/credits" in (await pages.get("/")).html.links) is is_open


@pytest.mark.parametrize("is_stacked", [True, False])
def test_bars_stay_within_their_slots_and_every_value_is_visible(*, is_stacked: bool) -> None:
    series = (
        BarSeries("a", "line-a", (0.0, 1e-6, 5.0, 1e9)),
        BarSeries("b", "line-b", (0.0, 0.0, 3.0, 1e9)),
    )
    texts = BarChartTexts("c", "t", "u", "Day")
    chart = draw_bars(texts, ("w", "x", "y", "z"), series, is_stacked=is_stacked)
    assert [len(slot.bars) for slot in chart.slots] == [1, 2, 2]
    assert chart.slots[1].title == "y: a 5, b 3"
    for slot in chart.slots:
        assert slot.x >= LEFT
        assert slot.x + slot.width <= WIDTH - RIGHT + 0.01
        for bar in slot.bars:
            assert slot.x <= bar.x
            assert bar.x + bar.width <= slot.x + slot.width
            assert bar.y >= TOP - 2
            assert bar.y + bar.height <= HEIGHT - BOTTOM + 0.01
            assert bar.height >= 1
    left, right = chart.slots[2].bars
    assert (left.x == right.x) is is_stacked
    assert [tick.text for tick in chart.x_ticks] == ["w", "x", "y", "z"]
    many = draw_bars(texts, [str(n) for n in range(31)], (), is_stacked=is_stacked)
    assert [tick.text for tick in many.x_ticks] == ["0", "8", "15", "22", "30"]
    assert draw_bars(texts, ("w",), (BarSeries("a", "s", (0.0,)),), is_stacked=True).is_empty
    assert draw_bars(texts, (), (), is_stacked=is_stacked).is_empty


# The cost on the page of a job.


async def test_a_job_says_who_said_what_its_attempts_cost(
    pages: PageReader, job_factory: JobFactory
) -> None:
    now = job_factory.clock.now()
    failed = ProviderError("EXECUTION_FAILED", "no luck", http_status=500)
    first = build.changed(build.running(id="a"), estimate=7.0)
    estimated = transitions.retry(first, now, failed, due_at=now + 60)
    named = transitions.record_costs(estimated, now, {1: 6.5}, next_check_at=None)
    answered = transitions.succeed(build.running(id="c"), now, Finished(b"{}", cost=8.0))
    unknown = transitions.succeed(build.running(id="d"), now, Finished(b"{}", cost=None))
    for job, text, source in (
        (estimated, "Cost 7 credits, an estimate: the provider has not named", "estimate"),
        (build.changed(named, id="b"), "6.5 credits, named by the provider's list", "usage"),
        (answered, "Cost 8 credits, named by the answer", None),
        (unknown, "Cost unknown, and without an estimate", "estimate"),
    ):
        assert await job_factory.store.jobs.create(job, b"{}") is not None
        page = await pages.get(f"/jobs/{job.id}")
        assert text in page.text
        assert ("Estimated cost of an attempt 7 credits" in page.text) is (job.estimate is not None)
        async with pages.http.get(f"{pages.url}/v1/jobs/{job.id}") as reply:
            shown = await reply.json()
        assert shown["estimate"] == job.estimate
        assert shown["attempts"][0]["cost_source"] == source
