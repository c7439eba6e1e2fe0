"""Connections to Redis: handed out at once, and a dead one costs no command."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from arq import ArqRedis

from worker.redis.connection_pool import CHECK_AFTER_S, ConnectionPool
from worker.redis.primary import Primary


@pytest.fixture
async def pool(redis_url: str) -> AsyncGenerator[ConnectionPool]:
    """A pool of one connection, which retries nothing."""
    opened = cast("Any", ConnectionPool).from_url(
        redis_url, max_connections=1, timeout=5.0, primary=Primary()
    )
    yield opened
    await opened.disconnect()


async def ask(connection: Any, *command: str | int) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()


async def end(redis: ArqRedis, connection: Any) -> None:
    """Have the server close a connection."""
    number = await ask(connection, "CLIENT", "ID")
    assert await cast("Any", redis).execute_command("CLIENT", "KILL", "ID", number) == 1


async def test_a_connection_that_was_idle_is_replaced_if_it_has_ended(
    redis: ArqRedis, pool: ConnectionPool
) -> None:
    connection = await pool.get_connection()
    await end(redis, connection)
    await pool.release(connection)
    connection.released_at -= 2 * CHECK_AFTER_S
    connection = await pool.get_connection()
    assert await ask(connection, "PING") == b"PONG"
    await pool.release(connection)


async def test_a_connection_that_was_just_used_is_not_read_from(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await pool.get_connection()
    await pool.release(connection)
    monkeypatch.setattr(connection, "can_read_destructive", None)
    assert await pool.get_connection() is connection
    assert await ask(connection, "PING") == b"PONG"
    await pool.release(connection)


async def test_a_command_survives_a_connection_that_ended_since_the_last_one(
    redis: ArqRedis, redis_url: str
) -> None:
    client = cast("Any", redis)
    ours = await client.execute_command("CLIENT", "ID")
    killer = cast("Any", ArqRedis).from_url(redis_url)
    assert await killer.execute_command("CLIENT", "KILL", "ID", ours) == 1
    assert await client.execute_command("PING")
    assert await client.execute_command("CLIENT", "ID") != ours
    await killer.aclose(close_connection_pool=True)


async def test_who_finds_no_free_connection_waits_for_one(pool: ConnectionPool) -> None:
    held = await pool.get_connection()
    waiting = asyncio.create_task(pool.get_connection())
    await asyncio.sleep(0)
    assert not waiting.done()
    await pool.release(held)
    assert await waiting is held
    await pool.release(held)


async def test_a_cancelled_pipeline_returns_its_connection_although_the_pool_is_busy(
    pool: ConnectionPool,
) -> None:
    """redis-py waits for the pool's lock there, and the connection of a cancelled task is lost."""
    redis = cast("Any", ArqRedis(connection_pool=cast("Any", pool)))
    pipe = redis.pipeline(transaction=False)
    pipe.execute_command("PING")
    connection = await pool.get_connection()
    pipe.connection = connection
    async with cast("Any", pool)._condition:
        pending = asyncio.create_task(pipe.reset())
        await asyncio.sleep(0)
        pending.cancel()
        await asyncio.wait([pending])
    assert pipe.connection is None
    assert await pool.get_connection() is connection
    await pool.release(connection)


async def test_each_returned_connection_is_handed_to_one_that_waits(redis_url: str) -> None:
    pool = cast("Any", ConnectionPool).from_url(
        redis_url, max_connections=2, timeout=5.0, primary=Primary()
    )
    held = [await pool.get_connection() for _ in range(2)]
    waiting = [asyncio.create_task(pool.get_connection()) for _ in range(2)]
    await asyncio.sleep(0)
    for connection in held:
        await pool.release(connection)
    assert set(await asyncio.gather(*waiting)) == set(held)
    for connection in held:
        await pool.release(connection)
    await pool.disconnect()
