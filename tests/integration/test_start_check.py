"""Warnings of worker, API and doctor about a real Redis that can lose paid work."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from config.settings import Settings
from tests.chaos.killable_redis import KillableRedis
from tests.engine.live_system import environment, wait_until

BALLAST_BYTES = 32 << 20
"""Large enough that a few connections more or less do not matter."""

SETTINGS_READ = 4
"""The number of settings that the check reads, one call each."""

STARTED = {"worker": "worker.started", "api": "api.started"}
PROGRAMS = sorted(STARTED)


@dataclass(frozen=True, slots=True)
class LoggedProgram:
    """A running program and its log."""

    process: asyncio.subprocess.Process
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        text = self.log.read_text()
        complete = text[: text.rfind("\n") + 1]
        return [json.loads(line) for line in complete.splitlines()]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]

    async def until_logged(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        async def logged() -> bool:
            return len(self.events(event)) >= count

        await wait_until(logged, f"{count} x {event}")
        return self.events(event)


@asynccontextmanager
async def started(name: str, redis: KillableRedis, folder: Path) -> AsyncGenerator[LoggedProgram]:
    settings = Settings(
        redis_url=SecretStr(redis.url),
        api_key=SecretStr("knouds_live_x"),
        start_check=False,  # of the key, at the provider
        log_format="json",
    )
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker.cli.main", name),
            env=environment(settings) | {"KNOUDS_HTTP_PORT": "0"},
            stderr=log,
        )
    program = LoggedProgram(process, path)
    try:
        await program.until_logged(STARTED[name])
        yield program
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def diagnosed(redis: KillableRedis) -> dict[str, dict[str, str]]:
    """The name of each check → the doctor's finding."""
    settings = Settings(redis_url=SecretStr(redis.url))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.cli.main", "doctor", "--json", "--no-provider"),
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
    )
    text, _ = await process.communicate()
    return {finding["name"]: finding for finding in json.loads(text)["findings"]}


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncGenerator[KillableRedis]:
    """A server that the test starts with its own options."""
    server = KillableRedis(tmp_path / "redis")
    yield server
    await server.kill()


async def fill(redis: KillableRedis, share: float) -> None:
    """Fill Redis up to a share of its maxmemory."""
    assert await redis.query("SETRANGE", "ballast", BALLAST_BYTES, "x") == b":%d" % (
        BALLAST_BYTES + 1
    )
    await redis.command("CONFIG SET maxmemory", int(BALLAST_BYTES / share))


@pytest.mark.parametrize(
    ("arguments", "used", "reasons"),
    [
        (
            ("--appendonly", "no", "--maxmemory-policy", "volatile-lru"),
            0.8,
            {
                "redis.persistence": "appendonly is off",
                "redis.eviction": "maxmemory-policy is volatile-lru",
                "redis.memory": "of maxmemory (40 MiB)",
            },
        ),
        (
            ("--appendfsync", "everysec"),
            0.94,
            {
                "redis.persistence": "may lose the last second",
                "redis.memory": "a full Redis accepts no job",
            },
        ),
    ],
    ids=["unsaved and evicting", "saved each second and full"],
)
async def test_worker_api_and_doctor_warn_of_each_flaw_with_the_reason(
    redis: KillableRedis,
    tmp_path: Path,
    arguments: tuple[str, ...],
    used: float,
    reasons: dict[str, str],
) -> None:
    """`used`: the share of its memory that is taken."""
    await redis.start(*arguments)
    await fill(redis, used)
    await _all_warn(redis, tmp_path, reasons)


async def _all_warn(redis: KillableRedis, folder: Path, reasons: dict[str, str]) -> None:
    findings = await diagnosed(redis)
    for check, reason in reasons.items():
        assert findings[check]["level"] in ("warn", "fail")
        assert reason in findings[check]["text"]
    for name in PROGRAMS:
        async with started(name, redis, folder) as program:
            unsafe = await program.until_logged("redis.unsafe", len(reasons))
            found = {line["check"]: line for line in unsafe}
            assert found.keys() == reasons.keys()
            for check, reason in reasons.items():
                assert reason in found[check]["why"]
                assert found[check]["fix"]
                assert found[check]["severity"] == findings[check]["level"] != "ok"


@pytest.mark.parametrize("name", PROGRAMS)
async def test_of_a_sound_redis_nothing_is_said(
    name: str, redis: KillableRedis, tmp_path: Path
) -> None:
    await redis.start()
    async with started(name, redis, tmp_path) as program:
        await wait_until(lambda: _was_checked(redis), "Redis is asked how it is set up")
    assert {line["level"] for line in program.lines()} == {"info"}


async def _was_checked(redis: KillableRedis) -> bool:
    found = re.search(rb"cmdstat_config[^:]*:calls=(\d+)", await redis.query("INFO commandstats"))
    return found is not None and int(found[1]) >= SETTINGS_READ


async def test_the_api_starts_also_where_the_check_gets_no_answer(
    redis: KillableRedis, tmp_path: Path
) -> None:
    """Redis accepts connections but never answers: the API serves, and logs `redis.unchecked`."""
    await redis.start()
    redis.freeze()
    async with (
        started("api", redis, tmp_path) as api,
        aiohttp.ClientSession() as http,
    ):
        url = api.events("api.started")[0]["url"]
        async with http.get(f"{url}/livez") as answer:
            assert answer.status == 200
        await api.until_logged("redis.unchecked")
        redis.thaw()
    events = [line["event"] for line in api.lines()]
    assert events.index("api.started") < events.index("redis.unchecked"), "it waits a moment only"
    assert events.count("redis.unchecked") == 1
