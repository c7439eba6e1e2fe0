"""`knouds-worker doctor`, its text and JSON output, and the warnings at a worker's start."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from arq import ArqRedis
from click.testing import CliRunner
from pydantic import SecretStr
from structlog.testing import capture_logs

from config.settings import Settings
from jobs.indexes import Index
from tests.engine.live_system import LiveSystem, environment
from tests.store.redis_contents import latest_audit_entries
from tests.unit.core import job_builders
from worker.cli.exit_codes import ExitCode
from worker.cli.main import commands
from worker.doctor.startup import check_redis_at_start
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.store.client import Client

ExitAndOutput = tuple[int, str]
Doctor = Callable[..., Awaitable[ExitAndOutput]]


async def call(settings: dict[str, str], *words: str) -> ExitAndOutput:
    """The command, in a thread of its own: it runs a loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, commands, ["doctor", *words], env=settings)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def doctor(redis_url: str, namespace: str) -> Doctor:
    """The command over the test's namespace, without a key."""

    async def run(*words: str, **settings: str) -> ExitAndOutput:
        return await call(
            {"KNOUDS_REDIS_URL": redis_url, "KNOUDS_NAMESPACE": namespace} | settings, *words
        )

    return run


def levels(text: str) -> dict[str, str]:
    doc: dict[str, Any] = json.loads(text)
    return {finding["name"]: finding["level"] for finding in doc["findings"]}


async def test_all_is_well_beside_a_worker(system: LiveSystem) -> None:
    settings = environment(system.settings) | {"KNOUDS_LEASE_S": "10"}
    settings.pop("PATH")
    job_id = await system.enqueue()
    async with system.worker():
        await system.until(job_id)
        code, text = await call(settings, "--json")
    doc = json.loads(text)
    assert (code, doc["summary"]) == (ExitCode.OK, "ok")
    assert doc["integrity"]["clean"] is True
    assert doc["integrity"]["states"] == {"succeeded": 1}
    assert set(levels(text)) >= {
        "redis.reachable",
        "redis.persistence",
        "redis.eviction",
        "redis.keys",
        "redis.queue",
        "clock.skew",
        "provider.network",
        "provider.default",
        "provider.studio",
        "workers.alive",
        "integrity.indexes",
    }


async def test_a_terminal_shows_groups_and_a_summary(doctor: Doctor) -> None:
    code, text = await doctor("--no-provider")
    lines = text.splitlines()
    assert code == ExitCode.OK
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "Redis",
        "Clock",
        "Settings",
        "Provider",
        "Workers",
        "Integrity",
        "all is well, 2 warnings",
    ]
    assert any("knouds-worker worker" in line for line in lines)


async def test_a_refused_key_fails(system: LiveSystem) -> None:
    settings = environment(system.settings) | {"KNOUDS_API_KEY": "knouds_live_wrong"}
    settings.pop("PATH")
    code, text = await call(settings, "--json")
    assert code == ExitCode.FAILED
    assert levels(text)["provider.default"] == "fail"
    assert levels(text)["provider.studio"] == "ok"
    assert "knouds_live_wrong" not in text
    code, text = await call(settings, "--json", "--no-provider")
    assert code == ExitCode.OK
    assert "provider.default" not in levels(text)


async def test_a_proxy_that_cannot_be_used_is_named(
    doctor: Doctor,
) -> None:
    code, text = await doctor(
        "--json",
        KNOUDS_API_KEY="knouds_live_x",
        KNOUDS_BASE_URL="http://knouds.invalid",
        HTTP_PROXY="socks5://me:secret@proxy:1",
    )
    assert code == ExitCode.FAILED
    assert levels(text)["provider.network"] == "fail"
    assert "HTTP_PROXY: not the address of an HTTP proxy" in text
    assert "secret" not in text


async def test_a_provider_that_is_away_is_a_warning(system: LiveSystem) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        settings = environment(system.settings) | {"KNOUDS_BASE_URL": url}
        settings.pop("PATH")
        code, text = await call(settings, "--json")
    assert code == ExitCode.OK
    assert levels(text)["provider.default"] == "warn"


async def test_damage_fails_until_it_is_repaired(store: Store, doctor: Doctor) -> None:
    job = job_builders.a_job()
    await store.jobs.create(job, b"{}")
    await store.client.call("ZREM", store.keys.lane(job.lane), job.id)
    await store.client.call("ZADD", store.keys.index(Index.DUE), 1, "nobody")

    code, text = await doctor("--no-provider")
    assert code == ExitCode.FAILED
    assert "left     lost: job j1 is queued, but not in lane:default/model/suno" in text
    assert "left     orphan: job nobody in due, but has no record" in text
    assert text.splitlines()[-1].startswith("not well: 1 check failed")

    code, text = await doctor("--no-provider", "--repair", "--note", "after the restore")
    assert code == ExitCode.OK
    assert "repaired lost: job j1" in text
    assert len(await latest_audit_entries(store, 10)) == 2

    code, text = await doctor("--no-provider", "--json")
    assert code == ExitCode.OK
    assert json.loads(text)["integrity"]["damages"] == []


async def test_what_only_an_operator_can_fix_keeps_failing(store: Store, doctor: Doctor) -> None:
    await store.jobs.create(job_builders.a_job(), b"{}")
    await store.client.call("HSET", store.keys.job("j1"), "rec", "{")
    code, text = await doctor("--no-provider", "--repair")
    assert code == ExitCode.FAILED
    assert "knouds-worker jobs get j1" in text


async def test_who_repairs_is_named_by_the_token_in_use(store: Store, doctor: Doctor) -> None:
    await store.client.call("ZADD", store.keys.index(Index.DUE), 1, "nobody")
    token = {"KNOUDS_API_TOKENS": f"ann:operate:{'s' * 32}", "KNOUDS_API_TOKEN": "s" * 32}
    assert (await doctor("--no-provider", "--repair", **token))[0] == ExitCode.OK
    assert [act["by"] for act in await latest_audit_entries(store, 5)] == ["ann"]


async def test_a_foreign_type_under_our_key_fails(store: Store, doctor: Doctor) -> None:
    await store.client.call("SET", store.keys.arq_queue, "mine")
    code, text = await doctor("--no-provider", "--json")
    assert code == ExitCode.FAILED
    assert levels(text)["redis.keys"] == "fail"


async def test_a_foreign_type_keeps_the_repair_away(store: Store, doctor: Doctor) -> None:
    await store.client.call("SET", store.keys.workers, "mine")
    await store.client.call("ZADD", store.keys.index(Index.DUE), 1, "nobody")
    code, text = await doctor("--no-provider", "--repair", "--json")
    assert code == ExitCode.FAILED
    assert levels(text)["workers.unreadable"] == "fail"
    assert json.loads(text)["integrity"]["outcomes"]["repaired"] == 0
    assert await latest_audit_entries(store, 5) == []


async def test_a_repair_that_may_not_write_fails(
    redis: ArqRedis, store: Store, doctor: Doctor, restricted: str
) -> None:
    await Client(redis).call("ACL SETUSER", store.keys.namespace, "-@write", "-@scripting")
    await store.client.call("ZADD", store.keys.index(Index.DUE), 1, "nobody")
    code, text = await doctor("--no-provider", "--repair", KNOUDS_REDIS_URL=restricted)
    assert code == ExitCode.FAILED
    assert "Redis refuses" in text


async def test_no_redis_is_an_exit_code_of_its_own(doctor: Doctor) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        code, text = await doctor("--no-provider", "--json", KNOUDS_REDIS_URL=url)
    assert code == ExitCode.NO_REDIS
    assert levels(text)["redis.reachable"] == "fail"
    assert json.loads(text)["integrity"] is None


async def test_wrong_settings_are_an_exit_code_of_their_own(doctor: Doctor) -> None:
    code, text = await doctor(KNOUDS_LEASE_S="soon")
    assert code == ExitCode.SETTINGS
    assert text.startswith("knouds-worker: KNOUDS_LEASE_S: ")


async def test_no_redis_configured_is_a_wrong_setting(
    doctor: Doctor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = str(tmp_path_factory.mktemp("empty"))
    code, text = await doctor(KNOUDS_REDIS_URL="", KNOUDS_STATE_DIR=folder)
    assert code == ExitCode.SETTINGS
    assert "KNOUDS_REDIS_URL is not set" in text


# A server that is not set up as it should be.


@pytest.fixture
async def restricted(redis: ArqRedis, redis_url: str, namespace: str) -> AsyncGenerator[str]:
    """The URL of a user who may not read the configuration, as on a managed Redis."""
    client = Client(redis)
    await client.call("ACL SETUSER", namespace, "on", ">secret", "~*", "&*", "+@all", "-config")
    yield redis_url.replace("redis://", f"redis://{namespace}:secret@")
    await client.call("ACL DELUSER", namespace)


async def test_a_refused_config_is_a_warning(doctor: Doctor, restricted: str) -> None:
    code, text = await doctor("--no-provider", "--json", KNOUDS_REDIS_URL=restricted)
    assert code == ExitCode.OK
    assert levels(text)["redis.persistence"] == "warn"
    assert levels(text)["redis.eviction"] == "ok"
    assert "secret" not in text


@asynccontextmanager
async def configured(redis: ArqRedis, **settings: str) -> AsyncGenerator[None]:
    """Redis set up differently, for as long as the block lasts."""
    client = Client(redis)
    before: dict[str, str] = {}
    for name, value in settings.items():
        option = name.replace("_", "-")
        before |= await client.call("CONFIG GET", option)
        await client.call("CONFIG SET", option, value)
    try:
        yield
    finally:
        for option, value in before.items():
            await client.call("CONFIG SET", option, value)


async def test_evicting_and_late_disks_are_found(redis: ArqRedis, doctor: Doctor) -> None:
    async with configured(redis, maxmemory_policy="allkeys-lru", appendfsync="everysec"):
        code, text = await doctor("--no-provider", "--json")
    assert code == ExitCode.FAILED
    assert levels(text)["redis.persistence"] == "warn"
    assert levels(text)["redis.eviction"] == "fail"


async def test_a_worker_says_at_its_start_what_is_unsafe(
    redis: ArqRedis, system: LiveSystem
) -> None:
    async with configured(redis, maxmemory_policy="allkeys-lru", appendfsync="everysec"):
        with capture_logs() as lines:
            async with system.worker():
                await system.until(await system.enqueue())
    unsafe = [line for line in lines if line["event"] == "redis.unsafe"]
    assert [line["check"] for line in unsafe] == ["redis.persistence", "redis.eviction"]
    assert all(line["log_level"] == "warning" and line["why"] for line in unsafe)


async def test_a_sound_redis_logs_no_warning(redis: ArqRedis, namespace: str) -> None:
    with capture_logs() as lines:
        await check_redis_at_start(open_store(redis, namespace))
    assert lines == []


async def test_a_start_does_not_wait_for_the_warning() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        redis = connect(Settings(redis_url=SecretStr(url)))
        with capture_logs() as lines:
            await check_redis_at_start(open_store(redis, "x"))
        await redis.aclose(close_connection_pool=True)
    assert [line["event"] for line in lines] == ["redis.unchecked"]
