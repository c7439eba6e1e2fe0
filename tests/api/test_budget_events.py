"""Events `budget` of `GET /v1/events`: for those who may read budgets."""

from typing import Final

import pytest

from jobs.credits.low_balance import BalanceChange
from tests.api.checked_api import CheckedApi
from tests.api.conftest import OpenWithTokens
from tests.api.event_stream_client import streaming
from tests.api.job_factory import JobFactory
from tests.api.token_entries import Entry, bearer
from tests.engine.budget_books import budgets_in
from worker.app.actions import Actor
from worker.app.budgets import BudgetRequest
from worker.clock import SystemClock
from worker.store import Store
from worker.store.events import BalanceNotice

TOKENS: Final[tuple[Entry, ...]] = (
    {"name": "reader", "role": "read"},
    {"name": "watcher", "role": "watch"},
    {"name": "red-own", "role": "enqueue", "tenant": "red", "own": True},
    {"name": "red-ops", "role": "operate", "tenant": "red"},
)


async def set_budget(store: Store, scope: str = "default/model") -> None:
    await budgets_in(store, SystemClock()).set(
        "b", BudgetRequest(scope, "total", 10.0), Actor("ann")
    )


async def test_a_budget_that_is_set_and_removed_is_an_event(api: CheckedApi, store: Store) -> None:
    async with streaming(api.url) as ear:
        await ear.until_begun()
        await set_budget(store)
        await budgets_in(store, SystemClock()).remove("b", Actor("ann"))
        first, second = await ear.next_event(), await ear.next_event()
    assert first is not None
    assert second is not None
    assert (first.event, first.data["at"][-1]) == ("budget", "Z")
    assert first.data | {"at": ""} == {
        "name": "b",
        "scope": "default/model",
        "change": "set",
        "percent": 0,
        "at": "",
        "resets_at": None,
    }
    assert second.data["change"] == "removed"


@pytest.mark.parametrize(
    ("name", "is_sent"),
    [("reader", True), ("watcher", False), ("red-ops", False), ("red-own", False)],
)
async def test_only_who_may_read_budgets_gets_their_events(
    open_with_tokens: OpenWithTokens,
    store: Store,
    job_factory: JobFactory,
    name: str,
    *,
    is_sent: bool,
) -> None:
    async with open_with_tokens(TOKENS) as api, streaming(api.url, bearer(name)) as ear:
        await ear.until_begun()
        await set_budget(store)
        await job_factory.queued("red~a")
        heard = await ear.next_event()
    assert heard is not None
    assert (heard.event == "budget") is is_sent


@pytest.mark.parametrize(
    ("scope", "wanted", "is_sent"),
    [
        ("default", {"account": "default"}, True),
        ("default", {"kind": "model", "target": "gpt-image-2"}, True),
        ("studio", {"account": "default"}, False),
        ("default/workflow", {"kind": "model"}, False),
        ("default/model/suno", {"target": "gpt-image-2"}, False),
        ("tag:a", {"account": "default"}, True),
        ("default", {"state": "queued"}, False),
    ],
)
async def test_a_filter_selects_the_budgets_that_its_jobs_may_meet(
    api: CheckedApi,
    store: Store,
    job_factory: JobFactory,
    scope: str,
    wanted: dict[str, str],
    *,
    is_sent: bool,
) -> None:
    async with streaming(api.url, None, **wanted) as ear:
        await ear.until_begun()
        await set_budget(store, scope)
        await job_factory.queued("a")
        heard = await ear.next_event()
    assert heard is not None
    assert heard.event == ("budget" if is_sent else "job")


@pytest.mark.parametrize(("account", "is_sent"), [("default", True), ("studio", False)])
async def test_a_low_balance_is_an_event_of_its_account(
    api: CheckedApi, store: Store, job_factory: JobFactory, account: str, *, is_sent: bool
) -> None:
    async with streaming(api.url, account="default") as ear:
        await ear.until_begun()
        await store.warnings.announce_balance(
            BalanceNotice(account, BalanceChange.LOW, 5.0, 8.0, 1_900_000_000.0)
        )
        await job_factory.queued("a")
        heard = await ear.next_event()
    assert heard is not None
    if not is_sent:
        assert heard.event == "job"
        return
    assert (heard.event, heard.data) == (
        "balance",
        {
            "account": "default",
            "change": "low",
            "left": 5.0,
            "ahead": 8.0,
            "dry_at": None,
            "at": "2030-03-17T17:46:40.000Z",
        },
    )
