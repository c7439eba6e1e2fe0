"""The HTTP API as a separate process, and a client app that repeats every failed request."""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec

from jobs.lanes import JobId
from jobs.requests import JobRequest
from tests.chaos.chaos_system import ChaosSystem
from tests.engine.live_system import environment, wait_until

RETRY_AFTER_S = 0.1
ANSWERS_WITHIN_S = 20.0


@dataclass
class RetryingApp:
    """An app that uses the HTTP API."""

    url: str
    http: aiohttp.ClientSession
    statuses: Counter[int] = field(default_factory=Counter[int])
    """Status → how often the API answered with it."""
    unconfirmed: list[str] = field(default_factory=list[str])
    """Jobs that were acknowledged without the confirmation of a replica."""

    async def enqueue(
        self, requests: Sequence[tuple[JobId, JobRequest]], pause_s: float
    ) -> list[str]:
        """Enqueue one by one, each until it is acknowledged; returns the ids."""
        acknowledged: list[str] = []
        for job_id, request in requests:
            while await self._post(job_id, request) not in (200, 202):  # noqa: ASYNC110
                await asyncio.sleep(RETRY_AFTER_S)
            acknowledged.append(job_id)
            await asyncio.sleep(pause_s)
        return acknowledged

    async def _post(self, job_id: str, request: JobRequest) -> int:
        body = {
            "id": job_id,
            "kind": request.kind,
            "target": request.target,
            "inputs": msgspec.json.decode(request.inputs),
        }
        async with self.http.post(f"{self.url}/v1/jobs", json=body) as answer:
            status = self._count(answer)
            if status < 300 and (await answer.json()).get("durability") == "unconfirmed":
                self.unconfirmed.append(job_id)
            return status

    def _count(self, answer: aiohttp.ClientResponse) -> int:
        self.statuses[answer.status] += 1
        if answer.status >= 400:
            assert answer.content_type == "application/problem+json"
        return answer.status

    async def until_unavailable(self) -> None:
        """Wait until `/v1/stats` answers 503."""

        async def unavailable() -> bool:
            async with self.http.get(f"{self.url}/v1/stats") as answer:
                return self._count(answer) == 503

        await wait_until(unavailable, "503 while Redis is down", ANSWERS_WITHIN_S)

    async def until_available(self) -> None:
        """Wait until `/v1/stats` answers 200 again."""

        async def available() -> bool:
            async with self.http.get(f"{self.url}/v1/stats") as answer:
                return self._count(answer) == 200

        await wait_until(available, "200 when Redis is back", ANSWERS_WITHIN_S)


@asynccontextmanager
async def retrying_app(chaos: ChaosSystem) -> AsyncGenerator[RetryingApp]:
    """Serve the API over the Redis of the scenario."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = chaos.system.settings.model_copy(update={"http_port": port})
    with (chaos.workers.folder / "api.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker.cli.main",
            "api",
            env=environment(settings),
            stdout=log,
            stderr=log,
        )
    timeout = aiohttp.ClientTimeout(total=ANSWERS_WITHIN_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            found = RetryingApp(f"http://127.0.0.1:{port}", http)

            async def ready() -> bool:
                try:
                    async with http.get(f"{found.url}/readyz") as answer:
                        return answer.status == 200
                except aiohttp.ClientConnectionError:
                    return False

            await wait_until(ready, "the API is ready")
            yield found
            assert process.returncode is None, "the API stays up"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
