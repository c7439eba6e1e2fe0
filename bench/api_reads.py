"""The API's reads with many jobs on record: python -m bench.api_reads [JOBS].

The API as a process of its own, over jobs in a mix of states. Prints, for each read, milliseconds
at the median and at worst of 20 calls, and at the end the API's resident megabytes.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import aiohttp
import psutil

from bench.integrity_scan import fill
from worker.redis.embedded import EmbeddedRedis

CALLS = 20

READS: Sequence[tuple[str, str]] = (
    ("stats", "/v1/stats"),
    ("list", "/v1/jobs?limit=50"),
    ("list, by state", "/v1/jobs?state=parked&limit=50"),
    ("list, by state and target", "/v1/jobs?state=running&kind=model&target=model-7&limit=50"),
    ("list, by target alone", "/v1/jobs?target=model-7&limit=50"),
    ("list, by tag", "/v1/jobs?tag=customer-7&limit=50"),
    ("list, by code", "/v1/jobs?code=INVALID_INPUTS&limit=50"),
    ("list, by code and state", "/v1/jobs?state=dead&code=INVALID_INPUTS&limit=50"),
    ("list, hides everything", "/v1/jobs?account=studio&limit=50"),
    ("list, hides all of a state", "/v1/jobs?state=succeeded&account=studio&limit=50"),
    ("list, 500", "/v1/jobs?limit=500"),
    ("one job", "/v1/jobs/bench-00000007"),
    ("why", "/v1/jobs/bench-00000000/why"),
    ("groups, parked", "/v1/groups?state=parked"),
    ("groups, dead", "/v1/groups?state=dead"),
    ("holds", "/v1/holds"),
    ("audit", "/v1/audit"),
    ("history, 24 h", "/v1/stats/history?window=24h"),
    ("history, 1 h", "/v1/stats/history?window=1h"),
    ("metrics", "/metrics"),
    ("overview page", "/"),
    ("jobs page", "/jobs"),
)


async def measure(http: aiohttp.ClientSession, url: str) -> list[float] | None:
    """Milliseconds of each call; None where there is no such page."""
    found: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        async with http.get(url, headers={"Accept": "text/html, application/json"}) as answer:
            await answer.read()
            if answer.status == 404:  # noqa: PLR2004
                return None
            answer.raise_for_status()
        found.append((time.perf_counter() - began) * 1_000)
    return found


async def serve(redis_url: str) -> tuple[asyncio.subprocess.Process, str]:
    """Start the API; where it listens."""
    environment = {
        "PATH": os.environ["PATH"],
        "KNOUDS_REDIS_URL": redis_url,
        "KNOUDS_HTTP_PORT": "0",
        "KNOUDS_LOG_FORMAT": "json",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker.cli.main",
        "api",
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    if process.stderr is None:
        raise RuntimeError("the API has no stderr")
    while line := await process.stderr.readline():
        event = json.loads(line)
        if event.get("event") == "api.started":
            return process, str(event["url"])
    raise RuntimeError("the API did not start")


async def main(count: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedRedis(Path(folder)) as server:
            with ProcessPoolExecutor(1, get_context("spawn")) as other:
                await asyncio.get_running_loop().run_in_executor(other, fill, server.url, count)
            process, url = await serve(server.url)
            try:
                await _print_all(url, psutil.Process(process.pid))
            finally:
                process.terminate()
                await process.wait()


async def _print_all(url: str, api: psutil.Process) -> None:
    async with aiohttp.ClientSession() as http:
        for name, path in READS:
            times = await measure(http, url + path)
            if times is not None:
                print(f"{name:28} {statistics.median(times):8.1f} {max(times):8.1f} ms")  # noqa: T201
    print(f"{'API, resident':28} {api.memory_info().rss / 2**20:8.1f} MB")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
