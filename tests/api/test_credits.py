"""`GET /v1/credits`: what runs cost, as JSON and as CSV."""

import pytest
from rich.table import Table

from jobs import transitions
from jobs.credits.charges import day_of
from jobs.outcomes import Finished
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from tests.engine.budget_books import budgets_in
from tests.unit.core import job_builders as build
from tests.unit.core.job_builders import NOW
from worker.app import credits as credits_module
from worker.app.actions import Actor
from worker.app.budgets import BudgetRequest
from worker.cli.tables import forecast_list
from worker.clock import SystemClock
from worker.store import Store

DAY = day_of(NOW)
NEXT_DAY = day_of(NOW + 86_400)


async def charge(
    store: Store, job_id: str, cost: float | None, *, later_s: float = 0, **facts: object
) -> None:
    """A job that succeeded and cost so much; None: its answer named no cost."""
    job = transitions.succeed(
        build.running(id=job_id, **facts), NOW + 1 + later_s, Finished(b"{}", cost=cost)
    )
    assert await store.jobs.create(job, b"{}") is not None


@pytest.fixture
async def charged(store: Store) -> None:
    await charge(store, "a", 5.0, tags=("x", "y"), batch="spring")
    await charge(store, "b", 2.25, account="studio", later_s=86_400)
    await charge(store, "c", None)


@pytest.mark.usefixtures("charged")
async def test_rows_are_sums_with_a_total(api: CheckedApi) -> None:
    found = (await api.get("/v1/credits", since=DAY, until=NEXT_DAY)).json
    rows = {row["key"]: row for row in found["items"]}
    assert (rows[DAY]["credits"], rows[DAY]["charges"], rows[DAY]["unknown"]) == (5.0, 2, 1)
    assert rows[NEXT_DAY]["credits"] == 2.25
    assert found["total"]["credits"] == 7.25
    assert (found["by"], found["since"], found["until"]) == ("day", DAY, NEXT_DAY)


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("account", ["default", "studio"]),
        ("target", ["model/suno"]),
        ("tag", ["x", "y"]),
        ("batch", ["spring"]),
    ],
)
@pytest.mark.usefixtures("charged")
async def test_rows_of_every_kind(api: CheckedApi, by: str, keys: list[str]) -> None:
    found = (await api.get("/v1/credits", by=by, since=DAY, until=NEXT_DAY)).json
    assert [row["key"] for row in found["items"]] == keys
    assert found["total"]["credits"] == 7.25


@pytest.mark.usefixtures("charged")
async def test_csv_has_a_head_line_and_no_formula(api: CheckedApi, store: Store) -> None:
    await charge(store, "d", 1.0, tags=("=cmd()",))
    reply = await api.get("/v1/credits.csv", by="tag", since=DAY, until=DAY)
    assert reply.headers["Content-Type"].startswith("text/csv")
    lines = reply.body.decode().splitlines()
    assert lines[0] == "tag,credits,charges,estimated,usage,retries,dead,unknown"
    assert "'=cmd(),1.0,1,0.0,0.0,0.0,0.0,0" in lines


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"since": "2026-02-30"}, "since"),
        ({"until": "yesterday"}, "until"),
        ({"by": "hour"}, "by"),
        ({"since": "2026-03-02", "until": "2026-03-01"}, "since"),
        ({"since": "2024-01-01", "until": "2026-03-01"}, "since"),
    ],
)
async def test_a_wrong_parameter_is_named(
    api: CheckedApi, params: dict[str, str], name: str
) -> None:
    reply = await api.get("/v1/credits", **params)
    assert reply.status == 400
    assert reply.json["field"] == name


async def test_the_first_days_of_the_calendar_are_days_too(api: CheckedApi) -> None:
    found = (await api.get("/v1/credits", until="0001-01-05")).json
    assert (found["since"], found["items"]) == ("0001-01-01", [])


async def test_a_day_without_charges_has_no_row(api: CheckedApi) -> None:
    found = (await api.get("/v1/credits")).json
    assert found["items"] == []
    assert found["total"]["credits"] == 0


async def test_a_balance_is_carried_on_by_the_ledger(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    entered = await api.post("/v1/credits/balance", {"credits": 1_000, "note": "topped up"})
    assert entered.status == 200
    assert (entered.json["account"], entered.json["left"]) == ("default", 1_000.0)
    await job_factory.succeeded("a")
    await job_factory.queued("b")
    await job_factory.ran("model/gpt-image-2", cost=8.0)
    await store.metrics.counters.flush(job_factory.clock.now())
    (found,) = (await api.get("/v1/credits/forecast")).json["items"]
    assert (found["left"], found["per_hour"]) == (999.5, 0.5)
    assert (found["waiting_jobs"], found["waiting_cost"], found["covers_waiting"]) == (1, 8.0, True)
    assert found["dry_at"] > found["balance"]["entered_at"]
    (audit,) = (await api.get("/v1/audit", act="set_balance")).json["items"]
    assert (audit["on"], audit["note"]) == ("default", "1000 credits: topped up")


@pytest.mark.parametrize("credits", [-1, 1e10, "10", None, True])
async def test_a_balance_that_is_none_is_refused(api: CheckedApi, credits: object) -> None:  # noqa: A002
    reply = await api.post("/v1/credits/balance", {"credits": credits})
    assert reply.status == 422
    assert reply.json["field"] == "credits"


async def test_a_balance_of_an_account_without_a_key_is_refused(
    api: CheckedApi, store: Store
) -> None:
    await store.accounts.report(["default"], NOW)
    reply = await api.post("/v1/credits/balance", {"account": "defualt", "credits": 1})
    assert (reply.status, reply.json["field"]) == (422, "account")


@pytest.mark.usefixtures("charged")
async def test_of_many_rows_those_with_the_most_credits_are_shown(
    api: CheckedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credits_module, "MAX_ROWS", 1)
    found = (await api.get("/v1/credits", by="account", since=DAY, until=NEXT_DAY)).json
    assert [row["key"] for row in found["items"]] == ["default"]
    assert (found["more"], found["total"]["credits"]) == (1, 7.25)


async def test_the_forecast_has_budgets_too(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await budgets_in(store, SystemClock()).set(
        "b", BudgetRequest("default", "day", 100.0), Actor("ann")
    )
    await job_factory.queued("a")
    await job_factory.ran("model/gpt-image-2", cost=8.0)
    (found,) = (await api.get("/v1/credits/forecast")).json["budgets"]
    assert found["resets_at"].endswith("00:00:00.000Z")
    assert found | {"resets_at": ""} == {
        "name": "b",
        "scope": "default",
        "period": "day",
        "limit": 100.0,
        "spent": 0.0,
        "reserved": 0.0,
        "resets_at": "",
        "per_hour": None,
        "reached_at": None,
        "waiting_jobs": 1,
        "waiting_cost": 8.0,
        "covers_waiting": True,
    }
    shown = forecast_list((await api.get("/v1/credits/forecast")).json)
    assert [len(table.columns) for table in shown if isinstance(table, Table)] == [6, 9]
