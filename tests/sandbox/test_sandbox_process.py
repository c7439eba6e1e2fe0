"""The command: one line when it listens, a clean end, and the same durations for one seed."""

import asyncio
import random
import signal
import sys

import aiohttp
import pytest

from worker.sandbox import SandboxConfig, SettableClock, running
from worker.sandbox.__main__ import main
from worker.sandbox.provider.catalogue import draw_duration


async def test_it_says_where_it_listens_and_ends_cleanly_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker.sandbox",
        "--port",
        "0",
        "--limit",
        "none",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 5)).decode()
    _, _, _, url, _, key = line.split()
    async with aiohttp.ClientSession(headers={"x-api-key": key}) as http:
        async with http.get(f"{url}/api/whoami") as answer:
            assert answer.status == 200
        hung = asyncio.create_task(
            http.post(
                f"{url}/api/models/suno/run",
                json={"inputs": {"sandbox": {"fault": "hang"}}},
            )
        )
        await asyncio.wait({hung}, timeout=0.05)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 3) == 0
        with pytest.raises(aiohttp.ClientError):
            await hung


def test_a_senseless_setting_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_WEBHOOK_SECRET", "short")
    with pytest.raises(SystemExit):
        main([])
    assert "webhook_secret" in capsys.readouterr().err


async def _durations(seed: int) -> list[float]:
    clock = SettableClock()
    headers = {"x-api-key": "knouds_live_sandbox"}
    async with (
        running(SandboxConfig(seed=seed), clock=clock) as url,
        aiohttp.ClientSession(headers=headers) as http,
    ):
        for _ in range(5):
            async with http.post(f"{url}/api/models/suno/run?async=true", json={"inputs": {}}):
                pass
        async with http.get(f"{url}/_sandbox/executions") as answer:
            items = (await answer.json())["items"]
    return [item["ends_at"] - item["started_at"] for item in items]


async def test_one_seed_means_one_sequence_of_durations() -> None:
    assert await _durations(7) == await _durations(7)
    assert await _durations(7) != await _durations(8)


def test_durations_have_the_median_asked_for_and_never_pass_the_cap() -> None:
    dice = random.Random(1)  # noqa: S311 - repeatable on purpose
    drawn = sorted(draw_duration(dice, 10.0, 0.5, 30.0) for _ in range(2001))
    assert drawn[1000] == pytest.approx(10.0, rel=0.05)
    assert drawn[-1] == 30.0
