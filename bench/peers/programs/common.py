"""What every peer shares: how a run is made and polled, and what is noted of it.

The provider is polled every second, as its page advises; nothing is retried, since nothing fails
here. The loop is uvloop, as in our worker, and the HTTP client aiohttp with its defaults.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.stalls import StallSampler
from bench.workload import arrivals

REDIS_URL = os.environ.get("PEER_REDIS_URL", "redis://127.0.0.1:6379")
SLOTS = int(os.environ.get("PEER_SLOTS", "2000"))
POLL_S = 1.0
TARGET = "gpt-image-2"
INPUTS = {"prompt": "x"}

# No program logs its runs; arq's command would write two lines a job.
QUIET = ("arq", "saq", "taskiq")

# Deprecated from Python 3.14 on, and the only way into loops that arq and SAQ make themselves.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # pyright: ignore[reportDeprecated]


class RunClient:
    """The provider's API, as far as a run needs it."""

    def __init__(self) -> None:
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the session that every run uses."""
        headers = {"x-api-key": os.environ["PEER_API_KEY"]}
        self._http = aiohttp.ClientSession(os.environ["PEER_PROVIDER_URL"], headers=headers)

    async def close(self) -> None:
        """Close it."""
        if self._http is not None:
            await self._http.close()

    async def submit(self, target: str, inputs: dict[str, Any]) -> str:
        """Start a run; returns its execution id."""
        path = f"/api/models/{target}/run?async=true"
        taken = await self._json("POST", path, {"inputs": inputs})
        return str(taken["executionId"])

    async def result(self, execution_id: str) -> dict[str, Any] | None:
        """The result of a run, None while it runs."""
        found = await self._json("GET", f"/api/executions/{execution_id}")
        if found["status"] == "processing":
            return None
        if found["status"] != "completed":
            raise RuntimeError(f"run {execution_id} {found['status']}")
        result: dict[str, Any] = found["result"]
        return result

    async def _json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        if self._http is None:
            raise RuntimeError("open the session first")
        async with self._http.request(method, path, json=body) as answer:
            answer.raise_for_status()
            found: dict[str, Any] = await answer.json()
            return found


class EndTimes:
    """Records when each run's end was observed and how late the loop was, for `finish` to write."""

    def __init__(self) -> None:
        self._folder = Path(os.environ.get("PEER_NOTES", "."))
        self._end_times: dict[str, float] = {}
        self._stalls = StallSampler()

    def begin(self) -> None:
        """Sample the loop, and say that the worker is ready."""
        self._stalls.start()
        (self._folder / f"{os.getpid()}.ready").touch()

    def note_end(self, execution_id: str) -> None:
        """Record that a run's end was observed now."""
        self._end_times[execution_id] = time.time()

    async def finish(self) -> None:
        """Write the records to a file."""
        await self._stalls.stop()
        found = {"end_times": self._end_times, "stalls": self._stalls.samples()}
        (self._folder / f"{os.getpid()}.json").write_text(json.dumps(found))


knouds = RunClient()
end_times = EndTimes()


async def run_to_its_end(target: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Submit a run and poll it every second; returns its result."""
    execution_id = await knouds.submit(target, inputs)
    while True:
        await asyncio.sleep(POLL_S)
        result = await knouds.result(execution_id)
        if result is not None:
            end_times.note_end(execution_id)
            return result


async def startup(*_: object) -> None:
    """Begin, as a worker's start-up hook."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    await knouds.open()
    end_times.begin()


async def shutdown(*_: object) -> None:
    """End, as a worker's shutdown hook."""
    await end_times.finish()
    with contextlib.suppress(Exception):
        await knouds.close()


def wanted_arrivals() -> Any:
    """The runs that the enqueuing program of a peer is to enqueue."""
    return arrivals(int(os.environ["PEER_RUNS"]), float(os.environ["PEER_RATE"]))
