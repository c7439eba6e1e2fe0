"""An app that enqueues over HTTP, each job with its id until it is acknowledged, and counts."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

POSTERS = 4
PAUSE_S = 0.18
"""Of each poster between two jobs: about 20 jobs a second in all."""
REPEAT_AFTER_S = 0.25
REFUSE_ONCE_EVERY = 16
SYNC_EVERY = 9
LONG_EVERY = 7
PAGE = 200


@dataclass
class CountingApp:
    """What it enqueued, which answers it got, and when."""

    url: str
    http: aiohttp.ClientSession
    most_jobs: int = 300
    expected: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Job → its inputs."""
    requests: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    acknowledged: dict[str, float] = field(default_factory=dict[str, float])
    """Job → when its enqueue was acknowledged (monotonic seconds)."""
    unconfirmed: set[str] = field(default_factory=set[str])
    """Jobs acknowledged with `durability: unconfirmed`."""
    answers: Counter[str] = field(default_factory=Counter[str])
    """Status → answers; `none` is a broken connection or no answer in time."""
    without_retry_after: int = 0
    refusals: Counter[str] = field(default_factory=Counter[str])
    """Status and the words of each refusal."""
    ready: Counter[str] = field(default_factory=Counter[str])
    """Status of `/readyz` → how often."""

    async def enqueue_until(self, stop: asyncio.Event) -> None:
        """Enqueue one job after another, with several requests at once."""
        await asyncio.gather(*(self._post_until(stop) for _ in range(POSTERS)))

    async def watch_ready(self, stop: asyncio.Event) -> None:
        """Ask `/readyz` twice a second."""
        while not stop.is_set():
            self.ready[await self._get_status("/readyz")] += 1
            await asyncio.sleep(0.5)

    def first_acknowledged_after(self, moment: float) -> float | None:
        """Seconds from a moment to the next acknowledgement; None if there was none."""
        after = [at - moment for at in self.acknowledged.values() if at >= moment]
        return min(after, default=None)

    async def enqueue_again(self) -> Counter[str]:
        """Enqueue every acknowledged job again, with the same id and inputs."""
        found: Counter[str] = Counter()
        jobs = [self.requests[job] for job in self.acknowledged]
        for start in range(0, len(jobs), PAGE):
            body = {"jobs": jobs[start : start + PAGE]}
            async with self.http.post(f"{self.url}/v1/jobs/bulk", json=body) as answer:
                rows = (await answer.json())["results"]
            found.update(str(row["status"]) for row in rows)
        return found

    async def jobs(self) -> dict[str, dict[str, Any]]:
        """Every job on record."""
        found: dict[str, dict[str, Any]] = {}
        cursor = ""
        while True:
            query = {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
            async with self.http.get(f"{self.url}/v1/jobs", params=query) as answer:
                page = await answer.json()
            found |= {job["id"]: job for job in page["items"]}
            cursor = page["next_cursor"]
            if not cursor:
                return found

    async def schedule(self, count: int, delay_s: float) -> list[str]:
        """Enqueue jobs that are to run later."""
        names = [f"later-{n}" for n in range(count)]
        for name in names:
            body = self._request(name, {}) | {"delay_s": delay_s}
            async with self.http.post(f"{self.url}/v1/jobs", json=body) as answer:
                assert answer.status in (200, 202), await answer.text()
        return names

    async def _post_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set() and len(self.expected) < self.most_jobs:
            number = len(self.expected)
            name = f"job-{number}"
            options: dict[str, Any] = (
                {"refuse_once": True} if not number % REFUSE_ONCE_EVERY else {}
            )
            if not number % LONG_EVERY:
                options["seconds"] = 4
            request = self._request(name, options)
            if not number % SYNC_EVERY:
                request["target"] = "sync-only"
            while not await self._post(name, request) and not stop.is_set():  # noqa: ASYNC110
                await asyncio.sleep(REPEAT_AFTER_S)
            await asyncio.sleep(PAUSE_S)

    def _request(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        inputs = {"job": name, "prompt": f"a picture of {name}", "seconds": 0.3} | options
        self.expected[name] = inputs
        self.requests[name] = {
            "id": name, "kind": "model", "target": "pictures", "inputs": inputs
        }  # fmt: skip
        return self.requests[name]

    async def _post(self, name: str, request: dict[str, Any]) -> bool:
        try:
            async with self.http.post(f"{self.url}/v1/jobs", json=request) as answer:
                body = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            self.answers["none"] += 1
            return False
        self.answers[str(answer.status)] += 1
        if answer.status in (200, 202):
            self.acknowledged[name] = time.monotonic()
            if body.get("durability") == "unconfirmed":
                self.unconfirmed.add(name)
            return True
        self.without_retry_after += answer.status >= 500 and "Retry-After" not in answer.headers
        self.refusals[f"{answer.status} {body.get('detail') or body.get('title')}"] += 1
        return False

    async def _get_status(self, path: str) -> str:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.http.get(f"{self.url}{path}") as answer:
                return str(answer.status)
        return "none"
