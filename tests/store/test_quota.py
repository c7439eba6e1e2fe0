"""Buckets in Redis: many change them, nothing is lost."""

import asyncio

from jobs.lanes import Scope
from jobs.rate_limits import Bucket, grant
from tests.unit.core.make import NOW
from worker.store import Store
from worker.store.rate_limits import NEW

ROUTE = Scope("default/model")


async def put(store: Store, route: Scope, bucket: Bucket) -> None:
    await store.quota.change(route, lambda _: bucket)


async def test_grants_of_many_at_once_all_count(store: Store) -> None:
    async def take() -> Bucket:
        return await store.quota.change(ROUTE, lambda bucket: grant(bucket, 1, NOW))

    await asyncio.gather(*(take() for _ in range(20)))
    assert (await store.quota.buckets())[ROUTE].opening == 20


async def test_no_change_writes_nothing(store: Store) -> None:
    assert await store.quota.change(ROUTE, lambda bucket: bucket) == NEW
    assert await store.quota.buckets() == {}


async def test_a_bucket_that_nobody_can_read_is_as_good_as_new(store: Store) -> None:
    await store.client.call("HSET", store.keys.quota, ROUTE, b"\xff")
    assert await store.quota.buckets() == {ROUTE: NEW}
    after = await store.quota.change(ROUTE, lambda bucket: grant(bucket, 2, NOW))
    assert (await store.quota.buckets())[ROUTE] == after


async def test_a_route_of_which_nothing_was_heard_is_forgotten(store: Store) -> None:
    for route, seen_at in (("a/model", NOW), ("b/model", NOW - 10)):
        bucket = Bucket(limit=1, seen_at=seen_at)
        await put(store, Scope(route), bucket)
    await store.quota.forget_silent(NOW - 5)
    assert list(await store.quota.buckets()) == ["a/model"]
