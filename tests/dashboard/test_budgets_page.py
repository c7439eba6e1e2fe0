"""The page of budgets: what it shows, its forms, and what it says of wrong values."""

import pytest

from config.settings import Settings
from config.values import Role
from jobs import transitions
from tests.api.job_factory import JobFactory
from tests.api.test_budgets import use
from tests.dashboard.conftest import OpenPages
from tests.dashboard.page_reader import HtmlPage, PageReader
from tests.dashboard.test_hostile_text import QUOTES, RTL, SCRIPT, check_harmless
from tests.dashboard.test_page_roles import logged_in
from tests.engine.budget_books import budgets_in
from tests.store.redis_contents import latest_audit_entries
from worker.app.actions import Actor
from worker.app.budgets import BudgetRequest
from worker.clock import SystemClock
from worker.store import Store


async def set_up(store: Store, name: str = "b", scope: str = "default", **facts: object) -> None:
    """Set a budget of 100 credits a day."""
    request = BudgetRequest(scope, str(facts.get("period", "day")), 100.0, "Europe/Berlin")
    await budgets_in(store, SystemClock()).set(
        name, request, Actor("ann", str(facts.get("note", "")))
    )


def bars(page: HtmlPage) -> dict[str, float]:
    """The widths of the parts of the bars of a page with one budget; 200 is the whole."""
    return {
        one["class"]: float(one["width"])
        for one in page.tags("rect")
        if one.get("height") == "12" and one.get("y") == "0"
    }


async def test_a_budget_is_set_changed_and_removed_by_forms(
    pages: PageReader, store: Store
) -> None:
    page = await pages.get("/budgets")
    assert "No budgets: nothing limits what runs cost." in page.text
    fields = {"name": "spring", "scope": "tag:spring", "limit": "250", "period": "month"}
    page = await pages.send(page, "/budgets", **fields, time_zone="Asia/Tokyo", note="agreed")
    assert "Set spring: 250 credits a month for tag:spring; it admits jobs in some" in page.text
    assert "spring on tag:spring agreed" in page.text
    assert "250 credits a month (Asia/Tokyo)" in page.text
    assert "counting what is in flight" in page.text
    await use(store, "spring", spent=100)
    page = await pages.get("/budgets?name=spring")
    (form,) = [one for one in page.html.forms if one.action == "/budgets"]
    assert dict(form.fields) | {"csrf": "", "back": ""} == fields | {
        "time_zone": "Asia/Tokyo",
        "note": "",
        "csrf": "",
        "back": "",
    }
    page = await pages.send(page, "/budgets", limit="300")
    assert "300 credits a month (Asia/Tokyo)" in page.text
    assert "40 %" not in page.text
    assert "33 %" in page.text
    page = await pages.send(page, "/budgets/spring/remove", note="over")
    assert "Removed spring: it limits tag:spring no more" in page.text
    assert "No budgets" in page.text
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["note"]) == ("remove_budget", "for tag:spring: over")


async def test_what_is_used_is_a_bar_and_numbers(pages: PageReader, store: Store) -> None:
    await set_up(store)
    await use(store, spent=25, reserved=50)
    page = await pages.get("/budgets")
    assert bars(page) == {"track": 200, "share": 50, "reserved": 100}
    for text in ("75 %", "open", "by", "ann"):
        assert text in page.text
    await use(store, spent=120, reserved=40)
    page = await pages.get("/budgets")
    assert bars(page) == {"track": 200, "share": 150, "reserved": 50}
    assert "160 %" in page.text
    assert "exceeded by 60" in page.text
    assert "closed: nothing is left" in page.text
    assert "Wait for the next day, or raise the limit." in page.text


async def test_what_waits_leads_to_its_jobs(
    pages: PageReader, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("a", tags=("x",))
    for name, scope in (("lane", "default/model/gpt-image-2"), ("tag", "tag:x")):
        await set_up(store, name, scope)
        await use(store, name, spent=100)
    await job_factory.transition("a", lambda job: transitions.wait_for_budget(job, "tag"))
    await job_factory.queued("b")
    page = await pages.get("/budgets")
    for link, job in (
        ("/jobs?state=queued&account=default&kind=model&target=gpt-image-2", "b"),
        ("/jobs?state=queued&tag=x", "a"),
    ):
        assert link in page.html.links
        assert f"/jobs/{job}" in (await pages.get(link)).html.links
    shown = await pages.get("/jobs/a")
    assert "budget lane on default/model/gpt-image-2 has nothing left" in shown.text
    assert "/budgets" in shown.html.links
    assert "0 jobs before it among those that wait for budget tag" in shown.text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"limit": "-1"}, "must be a number of credits more than 0"),
        ({"limit": "nan"}, "must be a number of credits more than 0"),
        ({"limit": "1e400"}, "must be a number of credits more than 0"),
        ({"limit": "much"}, "must be a number of credits more than 0"),
        ({"limit": ""}, "must be a number of credits more than 0"),
        ({"name": "Loud Name"}, "must be 1 to 64 lowercase letters"),
        ({"name": SCRIPT}, "must be 1 to 64 lowercase letters"),
        ({"scope": QUOTES}, "is not a scope"),
        ({"scope": "tag:"}, "write tag:NAME"),
        ({"period": "week"}, "day, month or total"),
        ({"time_zone": "Mars/Olympus"}, "is not the name of a time zone"),
    ],
)
async def test_a_wrong_value_is_named_at_its_field_and_nothing_is_lost(
    pages: PageReader, changes: dict[str, str], text: str
) -> None:
    fields = {"name": "b", "scope": "default", "limit": "7", "period": "day", "time_zone": "UTC"}
    page = await pages.send(await pages.get("/budgets"), "/budgets", **(fields | changes))
    assert page.status == 422
    assert text in page.text
    (field,) = changes
    wrong = [one for one in page.html.tags if one[1].get("aria-invalid")]
    assert [facts["name"] for _, facts in wrong] == [field]
    assert wrong[0][1]["aria-describedby"] == f"error-{field}"
    kept = [one for one in page.tags("input") if one.get("name") in fields]
    assert {one["name"]: one["value"] for one in kept} | {"period": ""} == (
        fields | changes | {"period": ""}
    )
    assert "No budgets" in page.text
    check_harmless(page)


@pytest.mark.parametrize("text", [SCRIPT, QUOTES, RTL])
async def test_hostile_notes_and_records_are_texts(
    pages: PageReader, store: Store, text: str
) -> None:
    await set_up(store, note=text)
    await store.client.call("HSET", store.keys.budgets, text, b'7 {"schema":1,"scope":"<b>"')
    page = await pages.get("/budgets")
    assert page.status == 200
    assert "cannot be read, and admits nothing" in page.text
    check_harmless(page)
    assert "\u202e" not in page.source
    (action,) = [
        form.action
        for form in page.html.forms
        if form.action not in ("/budgets", "/budgets/b/remove")
        and form.action.startswith("/budgets/")
    ]
    await pages.send(page, action)
    assert [one.name for one in await store.budgets.list_all()] == ["b"]


async def test_a_missing_budget_and_a_missing_csrf_token_change_nothing(
    pages: PageReader, store: Store
) -> None:
    await set_up(store)
    page = await pages.get("/budgets")
    await budgets_in(store, SystemClock()).remove("b", Actor("ann"))
    page = await pages.send(page, "/budgets/b/remove")
    assert "Not done: there is no budget" in page.text
    async with pages.http.post(
        f"{pages.url}/budgets", data={"name": "x", "scope": "default", "limit": "1"}
    ) as reply:
        assert reply.status == 403
    assert await store.budgets.list_all() == []


@pytest.mark.parametrize("role", Role)
async def test_the_page_is_for_readers_and_its_forms_for_operators(
    open_pages: OpenPages, store: Store, settings: Settings, role: Role
) -> None:
    await set_up(store)
    async with logged_in(open_pages, store, settings, role) as pages:
        page = await pages.get("/budgets")
        is_open = role.covers(Role.READ)
        assert (page.status == 200) is is_open
        assert ("/budgets" in (await pages.get("/")).html.links) is is_open
        posts = [one for one in page.html.forms if one.action.startswith("/budgets")]
        assert bool(posts) is (role is Role.OPERATE)


async def test_a_job_that_never_fits_is_a_group_of_parked_jobs(
    pages: PageReader, store: Store, job_factory: JobFactory
) -> None:
    await job_factory.queued("a")
    await set_up(store)
    (status,) = await store.budgets.statuses(SystemClock().now())
    now = SystemClock().now()
    await job_factory.transition(
        "a", lambda job: transitions.park_over_budget(job, now, status, 500.0)
    )
    page = await pages.get("/parked")
    assert "budget" in page.text
    assert "Raise the limit of the budget, then release it" in page.text
    assert "a run is expected to cost 500 credits" in (await pages.get("/jobs/a")).text
