"""Buckets in Redis: many change them, nothing is lost."""

import asyncio

from jobs.lanes import Scope
from jobs.rate_limits import RateLimitBucket, grant
from tests.unit.core.job_builders import NOW
from worker.store import Store
from worker.store.rate_limits import NEW_BUCKET

ROUTE = Scope("default/model")


async def put(store: Store, route: Scope, bucket: RateLimitBucket) -> None:
    await store.rate_limits.change(route, lambda _: bucket)


async def test_grants_of_many_at_once_all_count(store: Store) -> None:
    async def take() -> RateLimitBucket:
        return await store.rate_limits.change(ROUTE, lambda bucket: grant(bucket, 1, NOW))

    await asyncio.gather(*(take() for _ in range(20)))
    assert (await store.rate_limits.buckets())[ROUTE].opening_requests == 20


async def test_no_change_writes_nothing(store: Store) -> None:
    assert await store.rate_limits.change(ROUTE, lambda bucket: bucket) == NEW_BUCKET
    assert await store.rate_limits.buckets() == {}


async def test_a_bucket_that_nobody_can_read_is_as_good_as_new(store: Store) -> None:
    await store.client.call("HSET", store.keys.rate_limits, ROUTE, b"\xff")
    assert await store.rate_limits.buckets() == {ROUTE: NEW_BUCKET}
    after = await store.rate_limits.change(ROUTE, lambda bucket: grant(bucket, 2, NOW))
    assert (await store.rate_limits.buckets())[ROUTE] == after


async def test_an_unused_route_is_forgotten(store: Store) -> None:
    for route, seen_at in (("a/model", NOW), ("b/model", NOW - 10)):
        bucket = RateLimitBucket(limit=1, reported_at=seen_at)
        await put(store, Scope(route), bucket)
    await store.rate_limits.remove_stale(NOW - 5)
    assert list(await store.rate_limits.buckets()) == ["a/model"]
