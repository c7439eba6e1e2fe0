"""A stand-in for the provider that shares no code with the program: it counts runs and inputs."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

ANSWER_S = 0.05
"""How long a submit takes: so that events fall into submits, too."""


@dataclass
class CountingProvider:
    """What it was sent, and what it started."""

    url: str = ""
    started: Counter[str] = field(default_factory=Counter[str])
    """Job → runs that were started, each of which costs."""
    inputs: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    """Job → the inputs of each of its runs; runs whose inputs name no job are under ''."""
    runs: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Job → when each of its runs began (UTC), and the address that asked for it."""
    starts: list[float] = field(default_factory=list[float])
    """When each run was started (monotonic seconds)."""
    _refused: set[str] = field(default_factory=set[str])
    _ends: dict[str, float] = field(default_factory=dict[str, float])
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def submit(self, request: web.Request) -> web.Response:
        """Start a run; the first submit of a job with `refuse_once` is refused without one."""
        inputs = (await request.json())["inputs"]
        job = str(inputs.get("job", ""))
        is_async = request.query.get("async") == "true"
        if is_async and request.match_info["target"] == "sync-only":
            refusal = {"error": "no async mode", "code": "ASYNC_NOT_SUPPORTED"}
            return web.json_response(refusal, status=400)
        if inputs.get("refuse_once") and job not in self._refused:
            self._refused.add(job)
            refusal = {"error": "the model failed", "code": "EXECUTION_FAILED"}
            return web.json_response(refusal, status=500)
        self.started[job] += 1
        self.inputs.setdefault(job, []).append(inputs)
        self.starts.append(time.monotonic())
        self.runs.setdefault(job, []).append(f"{datetime.now(UTC):%T.%f} {_peer(request)}")
        number = next(self._numbers)
        await asyncio.sleep(ANSWER_S)
        seconds = float(inputs.get("seconds", 0.1))
        if not is_async:
            await asyncio.sleep(seconds)
            return web.json_response({"success": True, "result": {"n": number}, "cost": 1})
        run = f"run-{number}"
        self._ends[run] = time.monotonic() + seconds
        return web.json_response(
            {
                "_async": True,
                "executionId": run,
                "requestId": f"request-{number}",
                "status": "processing",
                "webhookDelivery": {"configured": False},
                "pollUrl": f"/api/executions/{run}",
            }
        )

    async def poll(self, request: web.Request) -> web.Response:
        """The state of a run."""
        run = request.match_info["run"]
        known = {"executionId": run, "requestId": run.replace("run", "request")}
        if run not in self._ends:
            refusal = {"error": "no such execution", "code": "EXECUTION_NOT_FOUND"}
            return web.json_response(refusal, status=404)
        if time.monotonic() < self._ends[run]:
            return web.json_response(known | {"status": "processing"})
        return web.json_response(known | {"status": "completed", "result": {"ok": 1}, "cost": 1})

    def first_start_after(self, moment: float) -> float | None:
        """Seconds from a moment to the next run; None if none was started since."""
        return next((at - moment for at in self.starts if at >= moment), None)

    def other_inputs(self, expected: dict[str, Any]) -> list[str]:
        """Jobs of which a run had other inputs than the app gave."""
        return sorted(
            job or "without a name"
            for job, runs in self.inputs.items()
            if any(_plain(run) != _plain(expected.get(job)) for run in runs)
        )


def _peer(request: web.Request) -> str:
    peer = request.transport and request.transport.get_extra_info("peername")
    return f"{peer} {request.query_string}"


def _plain(inputs: Any) -> str:
    return json.dumps(inputs, sort_keys=True)


async def _whoami(_: web.Request) -> web.Response:
    user = {"id": "u1", "email": "a@example.com", "role": "user", "tier": "enterprise"}
    return web.json_response({"user": user | {"approved": True}})


async def _usage(_: web.Request) -> web.Response:
    return web.json_response({"rows": [], "page": 0, "pageSize": 50, "total": 0})


async def _workflows(_: web.Request) -> web.Response:
    return web.json_response([])


@asynccontextmanager
async def counting_provider() -> AsyncGenerator[CountingProvider]:
    """Serve one on a free port of loopback."""
    provider = CountingProvider()
    app = web.Application()
    app.add_routes(
        [
            web.post("/api/models/{target}/run", provider.submit),
            web.post("/api/workflows/{target}/run", provider.submit),
            web.get("/api/executions/{run}", provider.poll),
            web.get("/api/whoami", _whoami),
            web.get("/api/usage", _usage),
            web.get("/api/workflows", _workflows),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    provider.url = f"http://{host}:{port}"
    try:
        yield provider
    finally:
        await runner.cleanup()
