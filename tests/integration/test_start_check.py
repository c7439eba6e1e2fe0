"""What worker, API and doctor say of a real Redis that is not set up to keep paid work."""

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
from tests.chaos.mortal_redis import MortalRedis
from tests.engine.stack import environment, wait_until

BALLAST_BYTES = 32 << 20
"""So much is in it that a few connections more or less do not count."""

SETTINGS_READ = 4
"""How many settings the check asks for, each by itself."""

STARTED = {"worker": "worker.started", "api": "api.listening"}
PROGRAMS = sorted(STARTED)


@dataclass(frozen=True, slots=True)
class Program:
    """A program of ours, and what it has logged."""

    process: asyncio.subprocess.Process
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        text = self.log.read_text()
        whole = text[: text.rfind("\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def told(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]

    async def until_told(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        async def told() -> bool:
            return len(self.told(event)) >= count

        await wait_until(told, f"{count} x {event}")
        return self.told(event)


@asynccontextmanager
async def started(name: str, redis: MortalRedis, folder: Path) -> AsyncGenerator[Program]:
    settings = Settings(
        redis_url=SecretStr(redis.url), api_key=SecretStr("knouds_live_x"), log_format="json"
    )
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker.cli.main", name),
            env=environment(settings) | {"KNOUDS_HTTP_PORT": "0"},
            stderr=log,
        )
    program = Program(process, path)
    try:
        await program.until_told(STARTED[name])
        yield program
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def diagnosed(redis: MortalRedis) -> dict[str, dict[str, str]]:
    """What the doctor finds, by the check's name."""
    settings = Settings(redis_url=SecretStr(redis.url))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.cli.main", "doctor", "--json", "--no-provider"),
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
    )
    text, _ = await process.communicate()
    return {finding["name"]: finding for finding in json.loads(text)["findings"]}


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncGenerator[MortalRedis]:
    """A server that a test starts as it likes."""
    server = MortalRedis(tmp_path / "redis")
    yield server
    await server.kill()


async def fill(redis: MortalRedis, share: float) -> None:
    """Let so much of its limit be in use."""
    assert await redis.ask("SETRANGE", "ballast", BALLAST_BYTES, "x") == b":%d" % (
        BALLAST_BYTES + 1
    )
    await redis.tell("CONFIG SET maxmemory", int(BALLAST_BYTES / share))


FLAWS = [
    (["--appendonly", "no"], {"redis.persistence": "appendonly is off"}),
    (["--appendfsync", "everysec"], {"redis.persistence": "may forget the last second"}),
    (
        ["--maxmemory-policy", "volatile-lru"],
        {"redis.eviction": "maxmemory-policy is volatile-lru"},
    ),
]


@pytest.mark.parametrize(("arguments", "reasons"), FLAWS)
async def test_worker_api_and_doctor_warn_of_a_flaw_with_the_reason(
    redis: MortalRedis, tmp_path: Path, arguments: list[str], reasons: dict[str, str]
) -> None:
    await redis.start(*arguments)
    await _all_warn(redis, tmp_path, reasons)


@pytest.mark.parametrize(
    ("share", "reason"), [(0.8, "of maxmemory (40 MiB)"), (0.94, "a full Redis takes no job")]
)
async def test_worker_api_and_doctor_warn_when_memory_runs_short(
    redis: MortalRedis, tmp_path: Path, share: float, reason: str
) -> None:
    await redis.start()
    await fill(redis, share)
    await _all_warn(redis, tmp_path, {"redis.memory": reason})


async def _all_warn(redis: MortalRedis, folder: Path, reasons: dict[str, str]) -> None:
    told = await diagnosed(redis)
    for check, reason in reasons.items():
        assert told[check]["level"] in ("warn", "fail")
        assert reason in told[check]["text"]
    for name in PROGRAMS:
        async with started(name, redis, folder) as program:
            unsafe = await program.until_told("redis.unsafe", len(reasons))
            found = {line["check"]: line for line in unsafe}
            assert found.keys() == reasons.keys()
            for check, reason in reasons.items():
                assert reason in found[check]["why"]
                assert found[check]["fix"]
                assert found[check]["severity"] == told[check]["level"] != "ok"


@pytest.mark.parametrize("name", PROGRAMS)
async def test_of_a_sound_redis_nothing_is_said(
    name: str, redis: MortalRedis, tmp_path: Path
) -> None:
    await redis.start()
    async with started(name, redis, tmp_path) as program:
        await wait_until(lambda: _was_looked_at(redis), "Redis is asked how it is set up")
    assert {line["level"] for line in program.lines()} == {"info"}


async def _was_looked_at(redis: MortalRedis) -> bool:
    found = re.search(rb"cmdstat_config[^:]*:calls=(\d+)", await redis.ask("INFO commandstats"))
    return found is not None and int(found[1]) >= SETTINGS_READ


async def test_the_api_starts_without_waiting_for_the_check(
    redis: MortalRedis, tmp_path: Path
) -> None:
    """Redis is there and says nothing: the API listens, and says once that it could not look."""
    await redis.start()
    redis.freeze()
    async with (
        started("api", redis, tmp_path) as api,
        aiohttp.ClientSession() as http,
    ):
        url = api.told("api.listening")[0]["url"]
        async with http.get(f"{url}/livez") as answer:
            assert answer.status == 200
        await api.until_told("redis.unchecked")
        redis.thaw()
    events = [line["event"] for line in api.lines()]
    assert events.index("api.listening") < events.index("redis.unchecked")
    assert events.count("redis.unchecked") == 1
