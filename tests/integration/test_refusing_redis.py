"""A Redis that refuses what is needed: worker, API, doctor and `/readyz` say so in one line."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest
from arq import ArqRedis
from pydantic import SecretStr

from config.settings import Settings
from jobs.states import State
from tests.chaos.killable_redis import KillableRedis, free_port
from tests.engine.live_system import LiveSystem, environment, live_system, wait_until
from worker.cli.exit_codes import ExitCode
from worker.compose.api import running as running_api
from worker.redis.connect import connect
from worker.sandbox import SandboxConfig, running
from worker.store import open_store
from worker.store.client import Client
from worker.store.command_check import acl_rules

CLUSTER = ("--cluster-enabled", "yes", "--appendonly", "no")
MAX_CLUSTER_PORT = 55_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[KillableRedis]:
    """A server that the test starts with its own options."""
    found = KillableRedis(tmp_path / "redis")
    while found.port > MAX_CLUSTER_PORT:
        found.port = free_port()
    yield found
    await found.kill()


async def ended(name: str, settings: Settings, *words: str) -> tuple[int, str]:
    """The exit code and the last line of a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.cli.main", name, *words),
        env=environment(settings) | {"KNOUDS_HTTP_PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, text = await process.communicate()
    assert process.returncode is not None
    return process.returncode, text.decode().strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["worker", "api"])
async def test_a_cluster_is_refused_at_the_start_in_one_line(
    name: str, server: KillableRedis
) -> None:
    await server.start(*CLUSTER)
    settings = Settings(redis_url=SecretStr(server.url), api_key=SecretStr("knouds_live_x"))
    code, line = await ended(name, settings)
    assert code == ExitCode.SETTINGS
    assert line == (
        "knouds-worker: KNOUDS_REDIS_URL: Redis is a cluster (CROSSSLOT);"
        " use one primary, alone or with Sentinel: Redis Cluster is not supported"
    )


async def test_a_wrong_password_is_one_line_at_the_start(redis_url: str) -> None:
    url = redis_url.replace("redis://", "redis://app:wrong-one@")
    settings = Settings(redis_url=SecretStr(url), api_key=SecretStr("knouds_live_x"))
    code, line = await ended("worker", settings)
    assert code == ExitCode.NO_REDIS
    assert line == (
        "knouds-worker: cannot start without Redis: Redis refuses the user or the password"
        " (WRONGPASS): correct the user and the password in KNOUDS_REDIS_URL"
    )


async def test_readyz_tries_a_write_and_says_why_not(server: KillableRedis, tmp_path: Path) -> None:
    """A primary that becomes a replica answers PING as before."""
    del tmp_path
    await server.start()
    redis = connect(Settings(), server.url, fail_fast=True)
    settings = Settings(redis_url=SecretStr(server.url), http_port=0)
    try:
        async with (
            running_api(settings, open_store(redis, "knouds")) as url,
            aiohttp.ClientSession() as http,
        ):
            await server.command("REPLICAOF", "127.0.0.1", "1")
            async with http.get(f"{url}/readyz") as answer:
                body = await answer.json()
                assert (answer.status, body["reason"]) == (503, "READONLY")
                assert "Redis is a replica, which takes no writes" in body["detail"]
                assert answer.headers["Retry-After"]
            await server.command("REPLICAOF", "NO", "ONE")

            async def is_ready() -> bool:
                async with http.get(f"{url}/readyz") as answer:
                    return answer.status == 200

            await wait_until(is_ready, "it is ready")
            before = await Client(redis).call("INFO", "commandstats")
            async with http.get(f"{url}/readyz") as answer:
                assert answer.status == 200
            after = await Client(redis).call("INFO", "commandstats")
    finally:
        await redis.aclose(close_connection_pool=True)
    writes = [stats["cmdstat_zadd"]["calls"] for stats in (before, after)]
    assert writes[0] == writes[1]  # answered from the check of a moment ago


@pytest.fixture
async def limited_system(
    redis: ArqRedis, redis_url: str, namespace: str
) -> AsyncGenerator[LiveSystem]:
    """A system whose every process has the documented rights alone."""
    rules = acl_rules(namespace, with_optional=False).split()
    await Client(redis).call("ACL SETUSER", namespace, "reset", "on", ">secret", *rules)
    url = redis_url.replace("redis://", f"redis://{namespace}:secret@")
    client = connect(Settings(namespace=namespace), url)
    try:
        async with (
            running(SandboxConfig(limit=0, credits=10**6)) as sandbox,
            live_system(client, url, namespace, sandbox) as system,
        ):
            yield system
    finally:
        await client.aclose(close_connection_pool=True)
        await Client(redis).call("ACL DELUSER", namespace)


async def test_worker_and_api_need_no_more_than_the_documented_rights(
    redis: ArqRedis, limited_system: LiveSystem
) -> None:
    """Redis keeps a log of what it denies. What redis-py and the start check only try, may be."""
    system = limited_system
    await Client(redis).call("ACL LOG", "RESET")
    settings = system.settings.model_copy(update={"http_port": 0})
    async with running_api(settings, system.store) as url, system.worker(lease_s=1.0):
        done = await system.enqueue()
        dead = await system.enqueue("suno", label="dead", fault="INVALID_INPUTS", times=1)
        again = await system.enqueue("suno", label="again", fault="HTTP_500", times=1)

        await system.all_until([done, dead, again])
        for path in ("readyz", "v1/jobs", "v1/stats", "metrics", "v1/audit", f"v1/jobs/{done}/why"):
            async with system.http.get(f"{url}/{path}") as answer:
                assert answer.status == 200, path
        wait = system.http.get(f"{url}/v1/jobs/{done}/wait", params={"timeout_s": "1"})
        async with wait as answer:
            assert answer.status == 200
        async with system.http.post(f"{url}/v1/jobs/{dead}/discard", json={}) as answer:
            assert answer.status == 200
    assert (await system.job(dead)).state is State.CANCELLED
    log = await Client(redis).call("ACL LOG")
    denied = {entry["object"].partition("|")[0] for entry in log}  # Valkey names the subcommand
    assert denied <= {"client", "config"}


def test_the_documented_rights_are_those_that_are_tried() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    block = text.partition("ACL SETUSER knouds on >PASSWORD ")[2].partition("```")[0]
    assert block.replace("\\\n", " ").split() == acl_rules("knouds").split()
