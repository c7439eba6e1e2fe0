"""The receivers of `examples/callbacks` run, take what is genuine, and refuse what is not."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from config.callback_hosts import CallbackHosts
from jobs.callbacks import Callback, CallbackFailure, CallbackSubject, CallbackType
from tests.engine.callback_receiver import OLD_SECRET, SECRET
from worker.cli.up.plan import free_port
from worker.clock import SystemClock
from worker.engine.callbacks.poster import CallbackPoster

FOLDER = Path(__file__).parents[2] / "examples" / "callbacks"
COMMANDS = {"receiver.py": sys.executable, "receiver.mjs": "node", "Receiver.java": "java"}
BODY = b'{"type":"job.dead","timestamp":"x","sequence":%d,"data":{"id":"j1","result":null}}'


def callback(number: int, url: str) -> Callback:
    return Callback(
        id=f"msg_{number}",
        type=CallbackType.JOB_DEAD,
        subject=CallbackSubject.JOB,
        subject_id="j1",
        url=url,
        host="h",
        created_at=0.0,
        sequence=number,
        record=msgspec.Raw(b"null"),
        since=0.0,
    )


@asynccontextmanager
async def running(example: str, port: int) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        COMMANDS[example],
        str(FOLDER / example),
        str(port),
        env={"PATH": os.environ["PATH"], "CALLBACK_SECRET": SECRET},
        stdout=subprocess.PIPE,
    )
    try:
        for _ in range(600):
            if process.returncode is not None:
                raise AssertionError(f"{example} ended with {process.returncode}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("example", COMMANDS)
async def test_a_receiver_takes_each_genuine_event_once(example: str) -> None:
    if shutil.which(COMMANDS[example]) is None:
        pytest.skip(f"{COMMANDS[example]} is not installed")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    hosts = CallbackHosts((url,))
    both = CallbackPoster(hosts, [OLD_SECRET, SECRET], 20.0)
    forged = CallbackPoster(hosts, [OLD_SECRET], 20.0)
    now = SystemClock().now()
    async with running(example, port) as process:

        async def send(poster: CallbackPoster, number: int, at: float) -> int | CallbackFailure:
            return await poster.post(callback(number, f"{url}/knouds"), BODY % number, at)

        assert await send(both, 2, now) == 204
        assert await send(both, 2, now) == 204, "a duplicate is taken, and done nothing with"
        for outcome in (await send(forged, 3, now), await send(both, 4, now - 3_600)):
            assert isinstance(outcome, CallbackFailure)
            assert outcome.status == 400
        await both.close()
        await forged.close()
        process.kill()
        assert process.stdout is not None
        lines = (await process.stdout.read()).decode().splitlines()
    assert len(lines) == 1
    assert "job.dead" in lines[0]
