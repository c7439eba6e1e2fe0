"""A real API process to attack: its memory and its log."""

import asyncio
import contextlib
import os
import resource
import socket
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import psutil

from worker.redis.server_binary import find_server

SECRETS = {role: f"{role}-0123456789abcdef" for role in ("enqueue", "watch", "read", "operate")}
WEBHOOK_SECRET = "whsec_0123456789abcdef"
START_TIMEOUT_S = 60.0
MEMORY_INTERVAL_S = 0.05


@dataclass(slots=True)
class AttackedApi:
    """One process of the API, measured from outside."""

    host: str
    port: int
    process: psutil.Process
    log: Path
    redis_url: str
    peak_mb: float = 0.0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def log_lines(self) -> int:
        return self.log.read_bytes().count(b"\n")

    async def watch_memory(self) -> None:
        """Keep the highest memory it had, until cancelled."""
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                rss: int = self.process.memory_info().rss
                self.peak_mb = max(self.peak_mb, rss / 1e6)
            await asyncio.sleep(MEMORY_INTERVAL_S)


@contextlib.asynccontextmanager
async def attacked_api(
    folder: Path, checkout: Path, redis_url: str, *, max_files: int = 1_024
) -> AsyncGenerator[AttackedApi]:
    """Start the API of a checkout, with so many file descriptors."""
    port = _free_port()
    log = folder / "api.log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KNOUDS_")}
    environ |= {
        "PYTHONPATH": str(checkout),
        "KNOUDS_REDIS_URL": redis_url,
        "KNOUDS_HTTP_PORT": str(port),
        "KNOUDS_API_TOKENS": ",".join(f"{r}-app:{r}:{secret}" for r, secret in SECRETS.items()),
        "KNOUDS_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "KNOUDS_STATE_DIR": str(folder),
    }
    with log.open("wb") as stream:
        api = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker.cli.main",
            "api",
            cwd=folder,
            env=environ,
            stderr=stream,
            stdout=stream,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files)),
        )
    attacked = AttackedApi("127.0.0.1", port, psutil.Process(api.pid), log, redis_url)
    memory = asyncio.create_task(attacked.watch_memory())
    try:
        await _until_started(attacked)
        yield attacked
    finally:
        memory.cancel()
        if api.returncode is None:
            api.kill()
        await api.wait()


@contextlib.asynccontextmanager
async def plain_redis(folder: Path) -> AsyncGenerator[str]:
    """The URL of a Redis that keeps nothing: any checkout can use it."""
    port = _free_port()
    words = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    server = await asyncio.create_subprocess_exec(
        str(find_server().path), *words, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        await server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_started(api: AttackedApi) -> None:
    """Return when it serves, and has logged what it found at its start."""
    async with asyncio.timeout(START_TIMEOUT_S):
        # A file has no event. The second line is of the check of Redis, which keeps nothing here.
        while b"redis.unsafe" not in api.log.read_bytes():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
