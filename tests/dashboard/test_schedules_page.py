"""The page of schedules: what it shows, its forms, and what it says of wrong values."""

import json
from typing import Any, Final

import pytest

from config.settings import Settings
from config.values import Role
from jobs.schedules.record import Skip, SkipCause
from tests.api.checked_api import REQUEST
from tests.dashboard.conftest import OpenPages
from tests.dashboard.page_reader import HtmlPage, PageReader
from tests.dashboard.test_hostile_text import QUOTES, RTL, SCRIPT, check_harmless
from tests.dashboard.test_page_roles import logged_in
from tests.store.redis_contents import latest_audit_entries
from tests.unit.core.test_schedule_due import a_schedule
from worker.store import Store

FIELDS: Final = {
    "name": "nightly",
    "cron": "0 3 * * *",
    "time_zone": "Europe/Berlin",
    "job": json.dumps(REQUEST),
    "overlap": "skip",
    "catch_up": "last",
    "enabled": "yes",
}


async def put(store: Store, **facts: Any) -> None:
    wanted = a_schedule(**({"cron": "0 3 * * *", "time_zone": "Europe/Berlin"} | facts))
    await store.schedules.change(wanted.name, lambda _: wanted, b'{"prompt":"a cat"}')


async def set_by_form(pages: PageReader, **changes: str) -> HtmlPage:
    return await pages.send(await pages.get("/schedules"), "/schedules", **(FIELDS | changes))


async def test_a_schedule_is_set_run_changed_switched_and_removed_by_forms(
    pages: PageReader, store: Store
) -> None:
    page = await pages.get("/schedules")
    assert "No schedules: nothing is enqueued by itself." in page.text
    page = await set_by_form(pages, note="agreed")
    assert "Set nightly: 0 3 * * * (Europe/Berlin)" in page.text
    assert "“agreed”" in page.text
    assert page.text.count("03:00 CE") == 5
    found = await store.schedules.find("nightly")
    assert found is not None
    assert (
        await store.schedules.inputs("nightly")
        == json.dumps(REQUEST["inputs"], separators=(",", ":")).encode()
    )
    (form,) = [one for one in page.html.forms if one.action == "/schedules"]
    kept = dict(form.fields)
    assert json.loads(kept["job"]) == REQUEST
    assert (kept["name"], kept["cron"], kept["enabled"]) == ("nightly", "0 3 * * *", "yes")
    page = await pages.send(page, "/schedules", catch_up="all", job="")
    assert "missed ticks: all" in page.text
    page = await pages.send(page, "/schedules/nightly/run", note="a first one")
    assert "Enqueued schedule:nightly:run:" in page.text
    assert "/schedules?name=nightly" in page.html.links
    page = await pages.get("/schedules?name=nightly")
    assert "by hand" in page.text
    assert "is not finished: ticks until then are skipped" in page.text
    page = await pages.send(page, "/schedules/nightly/disable")
    assert "it is disabled" in page.text
    assert not [one for one in page.html.forms if one.action.endswith("/disable")]
    page = await pages.send(page, "/schedules/nightly/enable")
    assert "Enabled nightly: it enqueues from now on" in page.text
    page = await pages.send(page, "/schedules/nightly/remove", note="over")
    assert "Removed nightly: its jobs go on" in page.text
    assert "No schedules" in page.text
    acts = [one["act"] for one in await latest_audit_entries(store, 6)]
    assert acts == [
        "remove_schedule",
        "enable_schedule",
        "disable_schedule",
        "run_schedule",
        "set_schedule",
        "set_schedule",
    ]


async def test_ticks_that_were_left_out_name_the_job_in_the_way(
    pages: PageReader, store: Store
) -> None:
    await put(store)
    await store.client.call("HSET", store.keys.schedule_ticks, "nightly", 100)
    schedule = await store.schedules.find("nightly")
    assert schedule is not None
    skip = Skip(cause=SkipCause.OVERLAP, tick=3_600, at=3_601.0, count=2, message="job-1")
    assert await store.schedules.skip(schedule, 100, skip)
    for path in ("/schedules", "/schedules?name=nightly"):
        page = await pages.get(path)
        text = "2 ticks up to Thu 1970-01-01 02:00 CET: an earlier run was not finished ("
        assert text in page.text
        assert "/jobs/job-1" in page.html.links


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"name": "Loud Name"}, "name", "must be 1 to 64 lowercase letters"),
        ({"name": SCRIPT}, "name", "must be 1 to 64 lowercase letters"),
        ({"cron": "0 0 30 2 *"}, "cron", "never comes: the day of month 30"),
        ({"cron": QUOTES}, "cron", "must have 5"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "is not the name of a time zone"),
        ({"job": "{"}, "job", "cannot be read"),
        ({"job": "[]"}, "job", "must be a JSON object, with kind, target and inputs"),
        ({"job": "{}"}, "job", "job.kind is missing"),
        ({"job": ""}, "job", "is missing: give a job request"),
        ({"overlap": "queue"}, "overlap", 'must be "skip"'),
        ({"catch_up": "some"}, "catch_up", 'must be "none", "last" or "all"'),
    ],
)
async def test_a_wrong_value_is_named_at_its_field_and_nothing_is_lost(
    pages: PageReader, store: Store, changes: dict[str, str], field: str, text: str
) -> None:
    page = await set_by_form(pages, **changes)
    assert page.status == 422
    assert text in page.text
    wrong = [facts for _, facts in page.html.tags if facts.get("aria-invalid")]
    assert [facts["name"] for facts in wrong] == [field]
    assert wrong[0]["aria-describedby"] == f"error-{field}"
    (form,) = [one for one in page.html.forms if one.action == "/schedules"]
    kept, sent = dict(form.fields), FIELDS | changes
    for name in ("name", "cron", "time_zone", "job"):
        assert kept[name] == sent[name]
    assert (await store.schedules.read()).schedules == []
    check_harmless(page)


@pytest.mark.parametrize("text", [SCRIPT, QUOTES, RTL])
async def test_hostile_notes_and_records_are_texts(
    pages: PageReader, store: Store, text: str
) -> None:
    await put(store, note=text)
    await store.client.call("HSET", store.keys.schedules, text, b'7 {"schema":1,"cron":"<b>"')
    page = await pages.get("/schedules?name=nightly")
    assert page.status == 200
    assert "cannot be read" in page.text
    check_harmless(page)
    assert "\u202e" not in page.source


async def test_a_missing_schedule_and_a_missing_csrf_token_change_nothing(
    pages: PageReader, store: Store
) -> None:
    await put(store)
    page = await pages.get("/schedules?name=nightly")
    await store.schedules.change("nightly", lambda _: None)
    for act in ("run", "disable", "remove"):
        assert "there is no schedule" in (await pages.send(page, f"/schedules/nightly/{act}")).text
    assert (await pages.get("/schedules?name=nightly")).status == 404
    async with pages.http.post(f"{pages.url}/schedules", data=FIELDS) as reply:
        assert reply.status == 403
    assert (await store.schedules.read()).schedules == []


@pytest.mark.parametrize("role", Role)
async def test_the_page_is_for_readers_and_its_forms_for_operators(
    open_pages: OpenPages, store: Store, settings: Settings, role: Role
) -> None:
    await put(store)
    async with logged_in(open_pages, store, settings, role) as pages:
        page = await pages.get("/schedules?name=nightly")
        is_open = role.covers(Role.READ)
        assert (page.status == 200) is is_open
        assert ("/schedules" in (await pages.get("/")).html.links) is is_open
        posts = [one for one in page.html.forms if one.action.startswith("/schedules")]
        assert bool(posts) is (role is Role.OPERATE)


async def test_what_a_newer_version_wrote_has_no_forms(pages: PageReader, store: Store) -> None:
    await put(store)
    await store.client.call("HSET", store.keys.schedules, "nightly", b'7 {"schema":99}')
    page = await pages.get("/schedules?name=nightly")
    assert "newer version" in page.text
    assert not [one for one in page.html.forms if one.action.startswith("/schedules")]
