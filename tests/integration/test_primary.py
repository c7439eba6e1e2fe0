"""Another server becomes the primary, and workers and API follow it without a restart."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from arq import ArqRedis
from pydantic import SecretStr

from config.settings import Settings
from tests.chaos.killable_redis import HOST, KillableRedis
from tests.engine.live_system import environment, wait_until
from tests.unit.core.job_builders import a_job
from worker.redis.connect import connect
from worker.redis.primary import NotPrimary, Primary
from worker.redis.primary_choice import SentinelAnswer
from worker.redis.sentinels import SentinelClients
from worker.store import open_store
from worker.store.client import Client, Durability, ReplicaWait

ONE_REPLICA = ReplicaWait(1, 100)


class MovingAddress:
    """An address that leads to a server, and can be moved to another; connections stay."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://{HOST}:{self._server.sockets[0].getsockname()[1]}/0"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            further, onward = await asyncio.open_connection(HOST, self.target)
            await asyncio.gather(_copy(reader, onward), _copy(further, writer))

    def close(self) -> None:
        assert self._server is not None
        self._server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncGenerator[tuple[KillableRedis, KillableRedis]]:
    """A primary and its replica."""
    primary, replica = KillableRedis(tmp_path / "one"), KillableRedis(tmp_path / "two")
    try:
        await primary.start("--repl-diskless-sync-delay", "0")
        await replica.start("--replicaof", HOST, str(primary.port))

        async def follows() -> bool:
            return b"master_link_status:up" in await replica.query("INFO replication")

        await wait_until(follows, "the replica follows")
        yield primary, replica
    finally:
        await primary.kill()
        await replica.kill()


async def move(
    address: MovingAddress, former: KillableRedis, promoted: KillableRedis, *, demotes: bool
) -> None:
    await promoted.command("REPLICAOF NO ONE")
    address.target = promoted.port
    if demotes:
        await former.command(f"REPLICAOF {HOST} {promoted.port}")


async def test_connections_to_what_became_a_replica_are_left_at_the_first_write(
    pair: tuple[KillableRedis, KillableRedis],
) -> None:
    former, promoted = pair
    address, primary = MovingAddress(former.port), Primary()
    await address.open()
    redis = connect(Settings(), address.url, primary=primary)
    try:
        store = open_store(redis, "t")
        await asyncio.gather(*(store.jobs.create(a_job(id=f"a{n}"), b"{}") for n in range(3)))
        await move(address, former, promoted, demotes=True)
        assert await store.jobs.create(a_job(id="b"), b"{}")
        assert primary.generation == 1
        assert await promoted.query("EXISTS", store.keys.job("b")) == b":1"
    finally:
        await redis.aclose(close_connection_pool=True)
        address.close()


async def test_a_former_primary_that_still_claims_to_be_one_is_found_within_a_second(
    pair: tuple[KillableRedis, KillableRedis],
) -> None:
    former, promoted = pair
    address, primary = MovingAddress(former.port), Primary(max_age_s=0.0)
    await address.open()
    redis: ArqRedis = connect(Settings(), address.url, primary=primary)
    try:
        await Client(redis).call("PING")
        await move(address, former, promoted, demotes=False)
        generation = primary.generation
        await primary.confirm()
        assert primary.generation == generation + 1
        await redis.set("after", 1)
        assert await promoted.query("GET after") == b"1"
        assert await former.query("EXISTS after") == b":0"
    finally:
        await redis.aclose(close_connection_pool=True)
        address.close()


async def test_a_replica_is_no_primary(pair: tuple[KillableRedis, KillableRedis]) -> None:
    redis = connect(Settings(), pair[1].url, fail_fast=True)
    try:
        with pytest.raises(NotPrimary):
            await Client(redis).call("PING")
    finally:
        await redis.aclose(close_connection_pool=True)


async def test_an_enqueue_says_whether_a_replica_has_it(
    pair: tuple[KillableRedis, KillableRedis],
) -> None:
    primary, replica = pair
    redis = connect(Settings(), primary.url)
    try:
        store = open_store(redis, "t", wait=ONE_REPLICA)
        stored = await store.jobs.create(a_job(id="a"), b"{}")
        assert stored is not None
        assert stored.durability is Durability.CONFIRMED
        replica.freeze()
        stored = await store.jobs.create(a_job(id="b"), b"{}")
        assert stored is not None
        assert stored.durability is Durability.UNCONFIRMED
        assert await store.jobs.durability() is Durability.UNCONFIRMED
        replica.thaw()

        async def confirmed() -> bool:
            return await store.jobs.durability() is Durability.CONFIRMED

        await wait_until(confirmed, "the replica has caught up")
        without = open_store(redis, "t")
        assert await without.jobs.durability() is None
    finally:
        replica.thaw()
        await redis.aclose(close_connection_pool=True)


def test_a_confirmation_counts_for_a_second() -> None:
    now = 0.0
    primary = Primary(monotonic=lambda: now)
    primary.record_server("one", is_replica=False, asked_at=0.0)
    assert primary.is_confirmed
    now = 1.1
    assert not primary.is_confirmed
    primary.record_server("two", is_replica=False, asked_at=now)
    assert primary.generation == 1, "another server answers"
    with pytest.raises(NotPrimary):
        primary.record_server("two", is_replica=True, asked_at=now)
    assert primary.generation == 2
    assert not primary.is_confirmed


async def test_a_primary_is_unanswered_where_too_few_sentinels_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    primary = Primary(monotonic=lambda: now)
    primary.record_server("one", is_replica=False, asked_at=0.0)
    now = 60.0
    assert not primary.is_unanswered, "without Sentinels, connections show it"
    clients = [connect(Settings(), "redis://127.0.0.1:1")] * 3
    primary.sentinels = SentinelClients(clients, "main")
    assert primary.is_unanswered
    answers = [SentinelAnswer(("a", 1), 1)] * 2

    async def ask() -> list[SentinelAnswer]:
        return answers

    monkeypatch.setattr(primary.sentinels, "ask", ask)
    await primary.check_sentinels()
    now = 61.5
    assert not primary.is_unanswered, "one check may be late"
    answers = answers[:1]
    await primary.check_sentinels()
    now = 62.1
    assert primary.is_unanswered, "one of three is too few"
    assert primary.unconfirmed_reason.startswith("1 of 3 Sentinels answers, 2 needed")


def test_a_primary_that_was_not_confirmed_for_two_seconds_is_unconfirmed() -> None:
    now = 10.0
    primary = Primary(monotonic=lambda: now)
    primary.problem = "INFO is refused"
    now = 12.0
    assert primary.unconfirmed_reason == "", "it may still be confirmed"
    now = 12.1
    assert primary.unconfirmed_reason == "INFO is refused"
    primary.record_server("one", is_replica=False, asked_at=now)
    assert primary.unconfirmed_reason == ""
    now = 20.0
    assert primary.unconfirmed_reason == "no answer", "not what was the matter before"
    primary.replace("a failover")
    assert primary.unconfirmed_reason == "", "it may still be confirmed again"


async def test_a_worker_that_starts_before_redis_waits_for_it(
    tmp_path: Path, namespace: str
) -> None:
    redis = KillableRedis(tmp_path / "late")
    settings = Settings(
        redis_url=SecretStr(redis.url),
        namespace=namespace,
        api_key=SecretStr("knouds_live_x"),
        base_url="http://127.0.0.1:1",
        start_check=False,
        log_format="json",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.cli.main", "worker"),
        env=environment(settings),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(40):
            while b"redis.awaited" not in (line := await process.stderr.readline()):
                assert line, "it ended"
            await redis.start()
            while b"worker.started" not in (line := await process.stderr.readline()):
                assert line, "it ended"
    finally:
        process.kill()
        await process.wait()
        await redis.kill()
