"""Budgets that are nearly used up or closed, and low balances, in `/v1/stats` and `/metrics`."""

from typing import Any, Final

import msgspec
import pytest

from config.settings import Settings
from jobs.budgets.record import Budget
from jobs.budgets.use import BudgetPart
from jobs.credits.charges import MICRO
from jobs.credits.low_balance import BalanceCause, BalanceMark
from tests.api.checked_api import CheckedApi
from tests.api.conftest import OpenWithTokens
from tests.api.job_factory import JobFactory
from tests.api.test_metrics import of, scraped
from tests.api.token_entries import Entry, bearer
from tests.engine.budget_books import budgets_in
from worker.app.actions import Actor
from worker.app.budgets import BudgetRequest
from worker.cli.tables import stats_tables
from worker.clock import SystemClock
from worker.compose.app import build_estimator
from worker.engine.budget_warnings import BudgetWarnings
from worker.store import Store
from worker.store.client import Client
from worker.store.warnings import StoredMark

CLOCK: Final = SystemClock()
ANN: Final = Actor("ann")
TOKENS: Final[tuple[Entry, ...]] = (
    {"name": "reader", "role": "read"},
    {"name": "watcher", "role": "watch"},
)


async def set_budget(
    store: Store, name: str, scope: str, spent: float, reserved: float = 0
) -> None:
    """A budget of 100 credits that is counted, and used so far."""
    await budgets_in(store, CLOCK).set(name, BudgetRequest(scope, "total", 100.0), ANN)

    def counted(current: Budget | None) -> Budget | None:
        return current and msgspec.structs.replace(current, is_counting=False)

    budget = await store.budgets.change(name, counted)
    assert budget is not None
    key = store.keys.budget_use(name, budget.generation, "total")
    for part, amount in {BudgetPart.SPENT: spent, BudgetPart.RESERVED: reserved}.items():
        await store.client.call("HSET", key, part, round(amount * MICRO))


async def check(store: Store) -> None:
    """What the budget keeper does once a second."""
    estimator = build_estimator(Settings(), store, CLOCK)
    await BudgetWarnings(store, estimator).check((), CLOCK.now())


async def warnings(api: CheckedApi, **headers: str) -> list[dict[str, Any]]:
    reply = await api.call("GET", "/v1/stats", headers=headers)
    assert reply.status == 200
    found: list[dict[str, Any]] = reply.json["credit_warnings"]
    return found


async def test_budgets_that_are_nearly_used_up_or_closed_are_named(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    await set_budget(store, "fine", "studio", 79)
    await set_budget(store, "near", "default", 60, 25)
    await set_budget(store, "shut", "default/model", 100)
    await job_factory.queued("a")
    await check(store)
    near, shut = await warnings(api)
    assert near == {
        "cause": "budget_near",
        "name": "near",
        "text": "Budget near (default) is used to 85 %: 60 spent and 25 reserved of 100 credits"
        " in total",
        "action": "Raise the limit before jobs wait, or let it close at 100 %",
    }
    assert (shut["cause"], shut["action"]) == (
        "budget_closed",
        "Raise the limit, or remove the budget",
    )
    assert shut["text"] == (
        "Budget shut (default/model) is closed: 100 spent and 0 reserved of 100 credits in total;"
        " 1 job waits for it"
    )


async def test_a_budget_that_has_room_again_is_not_named(api: CheckedApi, store: Store) -> None:
    await set_budget(store, "b", "default", 85)
    await check(store)
    assert len(await warnings(api)) == 1
    await budgets_in(store, CLOCK).set("b", BudgetRequest("default", "total", 200.0), ANN)
    assert await warnings(api) == []
    await set_budget(store, "b", "default", 85)
    assert len(await warnings(api)) == 1
    await budgets_in(store, CLOCK).remove("b", ANN)
    assert await warnings(api) == []


async def test_a_budget_that_cannot_be_read_is_named(api: CheckedApi, store: Store) -> None:
    await store.client.call("HSET", store.keys.budgets, "b", b"3 {")
    await check(store)
    (found,) = await warnings(api)
    assert found["cause"] == "budget_unreadable"
    assert found["action"] == "Set it anew, or remove it"


async def mark_low(store: Store, entered_at: float, low_at: float) -> None:
    mark = BalanceMark(
        entered_at=entered_at,
        said_at=low_at,
        low_at=low_at,
        cause=BalanceCause.WAITING,
        left=5.0,
        ahead=8.0,
        dry_at=None,
    )
    before = (await store.warnings.read()).balances.get("default", StoredMark())
    assert await store.warnings.mark_balance("default", before, mark)


async def test_a_low_balance_is_named_until_it_is_entered_anew_or_not_low(
    api: CheckedApi, store: Store
) -> None:
    await api.post("/v1/credits/balance", {"credits": 5})
    entered_at = (await store.balances.all())["default"].entered_at
    await mark_low(store, entered_at, CLOCK.now())
    (found,) = await warnings(api)
    assert (found["cause"], found["name"]) == ("balance_low", "default")
    assert "about 5 credits of its entered balance are left" in found["text"]
    assert found["action"].endswith("credits set-balance AMOUNT --account default")
    metrics = await scraped(api)
    assert of(metrics["knouds_balance_low"], account="default") == 1
    await mark_low(store, entered_at, CLOCK.now() - 600)
    assert await warnings(api) == []
    await mark_low(store, entered_at - 1, CLOCK.now())
    assert await warnings(api) == []


async def test_below_role_read_none_is_shown(
    open_with_tokens: OpenWithTokens, store: Store
) -> None:
    await set_budget(store, "b", "default", 85)
    await check(store)
    async with open_with_tokens(TOKENS) as api:
        assert len(await warnings(api, **bearer("reader"))) == 1
        assert await warnings(api, **bearer("watcher")) == []


async def test_without_budgets_and_balances_it_is_one_command(
    api: CheckedApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    call, many = Client.call, Client.many

    async def noted(self: Client, *command: Any) -> Any:
        sent.extend(str(part) for part in command[1:2])
        return await call(self, *command)

    async def many_noted(self: Client, commands: Any) -> Any:
        sent.extend(str(one[1]) for one in commands)
        return await many(self, commands)

    monkeypatch.setattr(Client, "call", noted)
    monkeypatch.setattr(Client, "many", many_noted)
    await warnings(api)
    ours = [key for key in sent if any(word in key for word in ("warning", "budget", "balance"))]
    assert ours == [store.keys.warnings]


async def test_budgets_are_metrics(api: CheckedApi, store: Store, job_factory: JobFactory) -> None:
    await set_budget(store, "a", "default", 60, 25.5)
    await set_budget(store, "b", "default/model", 100)
    await job_factory.queued("a")
    await job_factory.queued("b")
    await store.client.call("HSET", store.keys.budgets, "c", b"3 {")
    found = await scraped(api)
    rows = {
        name: [
            of(found[f"knouds_budget_{metric}"], budget=name)
            for metric in (
                "limit_credits",
                "spent_credits",
                "reserved_credits",
                "waiting_jobs",
                "closed",
            )
        ]
        for name in ("a", "b", "c")
    }
    assert rows == {
        "a": [100, 60, 25.5, 0, 0],
        "b": [100, 100, 0, 2, 1],
        "c": [0, 0, 0, 2, 1],
    }


async def test_the_command_line_shows_them(api: CheckedApi, store: Store) -> None:
    await set_budget(store, "b", "default", 85)
    await check(store)
    doc = (await api.get("/v1/stats")).json
    first = str(stats_tables(doc)[0])
    assert first.startswith("Budget b (default) is used to 85 %")
    assert first.endswith("Raise the limit before jobs wait, or let it close at 100 %")
