"""`serve` as a process of its own."""

import asyncio
import base64
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import pytest
from arq import ArqRedis
from pydantic import SecretStr

from config.settings import Settings, SettingsError
from tests.api.checked_api import REQUEST, is_subscribed, until
from worker.compose.api import running, serve
from worker.compose.app import payload_cipher
from worker.store import Store, open_store

PROGRAM = """
import asyncio
from config.environment import load
from worker.compose.api import serve
asyncio.run(serve(load(env_file=None)))
"""


@asynccontextmanager
async def served(**environ: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """A serving process and where it listens, as it says itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        assert process.stdout is not None
        found = None
        while found is None:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            assert line, "it ended"
            found = re.search(rb"api\.started.*(http://127\.0\.0\.1:\d+)", line)
        yield process, found[1].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_says_where_it_listens_and_ends_cleanly_on_sigterm(
    redis_url: str, namespace: str, store: Store
) -> None:
    environ = {
        "KNOUDS_REDIS_URL": redis_url,
        "KNOUDS_NAMESPACE": namespace,
        "KNOUDS_HTTP_PORT": "0",
    }
    async with served(**environ) as (process, url), aiohttp.ClientSession() as http:
        async with http.post(f"{url}/v1/jobs", json={**REQUEST, "id": "j1"}) as answer:
            assert answer.status == 202
        waiting = asyncio.create_task(_wait(http, f"{url}/v1/jobs/j1/wait?timeout_s=120"))
        await until(partial(is_subscribed, store))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 0
        await asyncio.wait({waiting}, timeout=5)
        waiting.exception()


async def _wait(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


async def test_a_port_that_is_taken_is_named(store: Store, settings: Settings) -> None:
    async with running(settings, store) as url:
        taken = settings.model_copy(update={"http_port": int(url.rpartition(":")[2])})
        with pytest.raises(SettingsError, match="KNOUDS_HTTP_PORT: cannot listen on"):
            async with running(taken, store):
                pass


async def test_it_refuses_to_serve_others_without_tokens(redis_url: str) -> None:
    with pytest.raises(SettingsError, match="KNOUDS_HTTP_HOST"):
        await serve(Settings(http_host="0.0.0.0"), redis_url)  # noqa: S104


async def test_without_a_key_in_use_it_never_listens(
    redis_url: str, namespace: str, redis: ArqRedis
) -> None:
    """Not even for a moment, in which a job could be stored that no worker believes."""
    key = SecretStr(base64.b64encode(bytes(32)).decode())
    cipher = payload_cipher(Settings(namespace=namespace, payload_keys=key))
    await open_store(redis, namespace, cipher=cipher).payloads.report_key()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "KNOUDS_REDIS_URL": redis_url,
            "KNOUDS_NAMESPACE": namespace,
            "KNOUDS_HTTP_PORT": "0",
        },
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode
    assert b"api.started" not in output
    assert b"KNOUDS_PAYLOAD_KEYS" in errors
