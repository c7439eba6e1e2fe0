"""Which accounts have keys, as workers report it."""

from worker.store import Store
from worker.store.accounts import REPORTED_WITHIN_S


async def test_what_any_worker_reports_is_known_without_an_end(store: Store) -> None:
    assert await store.accounts.known() == frozenset()
    await store.accounts.report(["default", "studio"], 1_000.0)
    await store.accounts.report(["other"], 1_010.0)
    assert await store.accounts.known() == {"default", "studio", "other"}
    assert await store.client.call("TTL", store.keys.accounts) == -1


async def test_an_account_that_workers_stopped_reporting_is_forgotten(store: Store) -> None:
    await store.accounts.report(["default", "studio"], 1_000.0)
    await store.accounts.report(["default"], 1_000.0 + REPORTED_WITHIN_S)
    assert await store.accounts.known() == {"default", "studio"}
    await store.accounts.report(["default"], 1_001.0 + REPORTED_WITHIN_S)
    assert await store.accounts.known() == {"default"}
    assert await store.client.call("HLEN", store.keys.accounts) == 1
