"""What is wrong with the address of Redis is one line, with the right fix."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError, RedisError, TimeoutError  # noqa: A004
from structlog.testing import capture_logs

from config.settings import Settings
from tests.chaos.killable_redis import HOST, KillableRedis
from tests.engine.live_system import wait_until
from worker.cli.exit_codes import CommandFailure
from worker.cli.up.run import refuse_unusable_redis
from worker.doctor.startup import UnusableRedis, require_usable
from worker.main import require_redis
from worker.redis.connect import connect
from worker.redis.connection_problems import ConnectionProblem, connection_problem
from worker.store import open_store
from worker.store.client import Client
from worker.store.refusals import RefusalCode, redis_refusal

SILENCE = TimeoutError("Timeout connecting to server")
SENTINEL_SILENCE = MasterNotFoundError("'main': Timeout connecting to server")


@asynccontextmanager
async def _plain_server() -> AsyncGenerator[int]:
    """Replies to a line, as a Redis with a password does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"PING\r\n"
        writer.write(b"-NOAUTH Authentication required.\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_tls_to_a_port_without_it_is_named_and_ends_the_start() -> None:
    async with _plain_server() as port:
        found = await connection_problem(SILENCE, f"rediss://{HOST}:{port}/0")
        behind = await connection_problem(SENTINEL_SILENCE, f"rediss+sentinel://{HOST}:{port}/main")
    assert found == ConnectionProblem(
        "Redis does not speak TLS on this port",
        "begin KNOUDS_REDIS_URL with redis://, or name its TLS port",
    )
    assert behind.text == "the Sentinels do not speak TLS"
    assert not found.may_pass
    assert not behind.may_pass


async def test_a_server_that_is_away_may_come_back() -> None:
    for url in ("redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0"):
        assert (await connection_problem(SILENCE, url)).may_pass
    url = "rediss+sentinel://127.0.0.1:1/main"
    assert (await connection_problem(SENTINEL_SILENCE, url)).may_pass
    unknown = MasterNotFoundError("'main': Command # 2: ('No such master with that name',)")
    found = await connection_problem(unknown, url)
    assert (found.text, found.may_pass) == ("the Sentinels do not know the service", True)


@pytest.mark.parametrize(
    ("error", "text", "fix"),
    [
        (
            MasterNotFoundError(
                "'main': AUTH <password> called without any password configured for the default"
                " user. Are you sure your configuration is correct?"
            ),
            "the Sentinels have no password",
            "remove sentinel_username and sentinel_password",
        ),
        (
            MasterNotFoundError("'main': invalid username-password pair or user is disabled."),
            "the Sentinels refuse the user or the password",
            "correct sentinel_username and sentinel_password",
        ),
        (
            MasterNotFoundError("'main': unknown command `SENTINEL`, with args beginning with: "),
            "are no Sentinels",
            "begin it with redis:// and one host",
        ),
        (
            ConnectionError(
                "Error 1 connecting to r:1. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify"
                " failed: Hostname mismatch, certificate is not valid for 'r'. (_ssl.c:1006)."
            ),
            "the certificate of Redis is for another host",
            "ssl_check_hostname=false",
        ),
        (
            RedisError("unknown command `SELECT`, with args beginning with: `5`, "),
            "Redis is a Sentinel",
            "redis+sentinel://",
        ),
    ],
)
async def test_an_address_that_only_the_operator_can_mend(
    error: RedisError, text: str, fix: str
) -> None:
    found = await connection_problem(error, "redis+sentinel://127.0.0.1:1/main")
    assert text in found.text
    assert fix in found.fix
    assert not found.may_pass


async def test_a_sentinel_is_no_redis(tmp_path: Path) -> None:
    """Its port in a `redis://` address ended a worker with a traceback."""
    sentinel = KillableRedis(tmp_path / "sentinel")
    await sentinel.start_sentinel("")
    settings = Settings(redis_url=SecretStr(sentinel.url))
    redis = connect(settings, fail_fast=True)
    try:
        with pytest.raises(UnusableRedis, match=r"is a Sentinel.*redis\+sentinel://"):
            await require_usable(open_store(redis, "t"))
    finally:
        await redis.aclose(close_connection_pool=True)
        await sentinel.kill()


async def test_a_worker_waits_for_a_replica_to_become_the_primary_and_up_refuses_it(
    tmp_path: Path,
) -> None:
    replica = KillableRedis(tmp_path / "redis")
    await replica.start("--replicaof", HOST, "1")
    settings = Settings(redis_url=SecretStr(replica.url))
    with pytest.raises(CommandFailure, match="is a replica"):
        await refuse_unusable_redis(settings)
    redis = connect(settings, fail_fast=True)
    try:
        with capture_logs() as lines:
            waits = asyncio.create_task(require_redis(settings, redis))

            async def said() -> bool:
                return any(line["event"] == "redis.awaited" for line in lines)

            await wait_until(said, "it waits")
            assert not waits.done()
            await replica.command("REPLICAOF NO ONE")
            await waits
        (line,) = (line for line in lines if line["event"] == "redis.awaited")
        assert "is a replica" in line["why"]
        assert "point KNOUDS_REDIS_URL at the primary" in line["fix"]
    finally:
        await redis.aclose(close_connection_pool=True)
        await replica.kill()


async def test_a_server_that_has_too_many_clients_says_so(tmp_path: Path) -> None:
    server = KillableRedis(tmp_path / "redis")
    await server.start()
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(b"CONFIG SET maxclients 1\r\n")
    assert await reader.readline() == b"+OK\r\n"
    redis = connect(Settings(), server.url, fail_fast=True)
    try:
        for _ in range(10):  # whichever of reply and closing the client notices first
            with pytest.raises(ConnectionError) as refused:
                await Client(redis).call("PING")
            refusal = redis_refusal(refused.value)
            assert refusal is not None
            assert refusal.code is RefusalCode.MAXCLIENTS
    finally:
        writer.close()
        await writer.wait_closed()
        await redis.aclose(close_connection_pool=True)
        await server.kill()
