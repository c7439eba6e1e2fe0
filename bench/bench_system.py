"""A worker and a sandbox as processes of their own, and what they used."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from config.environment import load
from config.settings import Settings
from worker.compose.app import payload_cipher
from worker.redis.connect import connect
from worker.redis.embedded import EmbeddedRedis
from worker.store import Store, open_store

KEY = "knouds_live_sandbox"


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What processes used: CPU seconds, and resident megabytes at the moment."""

    cpu_s: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class BenchSystem:
    """A running system."""

    settings: Settings
    store: Store
    sandbox: str
    workers: tuple[psutil.Process, ...]
    redis: psutil.Process
    environment: Mapping[str, str]
    """What the workers were started with."""

    @property
    def redis_url(self) -> str:
        """Where Redis listens."""
        return self.environment["KNOUDS_REDIS_URL"]

    def used(self) -> ProcessUse:
        """What the workers used so far."""
        cpu = sum(sum(p.cpu_times()[:2]) for p in self.workers)
        return ProcessUse(cpu, sum(p.memory_info().rss for p in self.workers) / 2**20)

    async def commands(self) -> int:
        """How many commands Redis has performed, those inside scripts among them."""
        stats: dict[str, dict[str, float]] = await self.store.client.call("INFO", "commandstats")
        return sum(int(row["calls"]) for row in stats.values())


@asynccontextmanager
async def bench_system(
    *,
    workers: int = 1,
    sandbox: Sequence[str] = (),
    stalls: Path | None = None,
    profile: Path | None = None,
    **settings: str,
) -> AsyncGenerator[BenchSystem]:
    """Start Redis, a sandbox with these options, and workers with these `KNOUDS_…` settings.

    `stalls`: a folder where each worker leaves how late its loop was, when it has ended; `profile`:
    one where it leaves where its CPU went instead.
    """
    command = ("worker.cli.main", "worker")
    if profile is not None:
        command = ("bench.profiled_worker", str(profile))
    elif stalls is not None:
        command = ("bench.sampled_worker", str(stalls))
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedRedis(Path(folder)) as redis:
            provider, url = await _sandbox(sandbox)
            given = {"KNOUDS_REDIS_URL": redis.url, "KNOUDS_BASE_URL": url, "KNOUDS_API_KEY": KEY}
            environment = {"PATH": os.environ["PATH"], "KNOUDS_LOG_LEVEL": "warning"}
            environment |= given | settings
            running = [await _start(*command, env=environment) for _ in range(workers)]
            try:
                own = load(environment, None)
                client = connect(own)
                store = open_store(client, own.namespace, cipher=payload_cipher(own))
                while len(await store.workers.heartbeats()) < workers:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                pids = tuple(psutil.Process(process.pid) for process in running)
                server = psutil.Process(redis.pid)
                yield BenchSystem(own, store, url, pids, server, environment)
                await client.aclose(close_connection_pool=True)
            finally:
                for process in (*running, provider):
                    process.terminate()
                    await process.wait()


async def _sandbox(options: Sequence[str]) -> tuple[asyncio.subprocess.Process, str]:
    wanted = ("--port", "0", "--limit", "none", "--credits", "1000000000", *options)
    process = await _start("worker.sandbox", *wanted, env=dict(os.environ), listen=True)
    if process.stdout is None:
        raise RuntimeError("the sandbox has no output")
    line = (await process.stdout.readline()).decode()
    return process, line.split(" on ", 1)[1].split()[0]


async def _start(
    module: str, *args: str, env: dict[str, str], listen: bool = False
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *args,
        env=env,
        stdout=asyncio.subprocess.PIPE if listen else None,
    )
