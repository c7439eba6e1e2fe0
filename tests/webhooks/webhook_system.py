"""A running system that receives webhooks, and what tests do with it."""

import hashlib
import hmac
import io
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from jobs.job import Job
from jobs.states import State
from tests.engine.live_system import LiveSystem, wait_until
from worker.main import ResilientArqWorker

SECRET = "whsec_0123456789abcdef"
NEXT_SECRET = "whsec_fedcba9876543210"
PATH = "/webhooks/knouds"


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None) -> str:
    """A signature header, computed without the code under test."""
    moment = int(time.time() if at is None else at)
    made = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return f"t={moment},v1={made.hexdigest()}"


def delivery(
    execution_id: str | None = None, event: str = "execution.completed", **facts: Any
) -> bytes:
    """The body of a delivery."""
    members = {
        "event": event,
        "executionId": execution_id or str(uuid.uuid4()),
        "requestId": "r",
        "modelIds": ["gpt-image-2"],
        "status": event.partition(".")[2],
        "result": {"images": ["https://x/1.png"]},
    }
    return msgspec.json.encode(members | facts)


@dataclass(frozen=True, slots=True)
class ReceiverReply:
    """A response of the receiver."""

    status: int
    doc: Any


@dataclass(frozen=True, slots=True)
class WebhookSystem:
    """A running system and the API that the provider delivers to."""

    system: LiveSystem
    api: str

    async def post(
        self, body: bytes, signature: str | None = None, headers: Mapping[str, str] | None = None
    ) -> ReceiverReply:
        """Deliver a body, signed correctly unless `signature` is given (empty: not signed)."""
        made = signed(body) if signature is None else signature
        given = {"X-Knouds-Signature": made} if made else {}
        sent = self.system.http.post(
            self.api + PATH, data=io.BytesIO(body), headers={**given, **(headers or {})}
        )
        async with sent as answer:
            return ReceiverReply(answer.status, await answer.json(content_type=None))

    async def call(self, method: str, path: str, **body: Any) -> Any:
        """Call the rest of the API."""
        sent = self.system.http.request(method, f"{self.api}/v1/{path}", json=body or None)
        async with sent as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    @asynccontextmanager
    async def worker(self, **changes: Any) -> AsyncGenerator[ResilientArqWorker]:
        """A worker in this process, subscribed to deliveries when the block begins."""
        async with self.system.worker(**changes) as worker:
            await wait_until(self._is_subscribed, "the worker is subscribed")
            yield worker

    async def _is_subscribed(self) -> bool:
        store = self.system.store
        counted: list[int] = await store.client.call("PUBSUB", "NUMSUB", store.keys.delivered)
        return counted[1] >= 1

    async def poll_now(self, job_id: str) -> Job:
        """Make the safety poll of a running job due now."""
        job = await self.system.until(job_id, State.RUNNING)
        await self.system.store.polls.make_due([job_id], time.time() - 1)
        return job

    async def keys(self) -> set[str]:
        """Every key of deliveries, without the namespace."""
        store = self.system.store
        prefix = f"{store.keys.namespace}:"
        found: list[bytes] = await store.client.call("KEYS", f"{prefix}*")
        names = {key.decode().removeprefix(prefix) for key in found}
        return {name for name in names if name.startswith(("delivery:", "inbox", "orphans"))}

    async def inbox_size(self) -> int:
        """How many runs have deliveries to process."""
        store = self.system.store
        return int(await store.client.call("ZCARD", store.keys.inbox))

    async def orphans(self) -> list[str]:
        """Execution ids of orphan deliveries."""
        found = await self.system.store.webhooks.orphans(0, time.time() + 9, 1000)
        return [orphan.execution_id for orphan in found]

    async def until_empty(self) -> None:
        """Wait until every delivery is processed."""

        async def empty() -> bool:
            return not await self.inbox_size()

        await wait_until(empty, "the inbox is empty")

    async def until_orphan(self, execution_id: str) -> None:
        """Wait until a delivery is an orphan."""

        async def kept() -> bool:
            return execution_id in await self.orphans()

        await wait_until(kept, f"{execution_id} is kept")

    async def delivered(self) -> dict[str, int]:
        """The sandbox's counts of its deliveries."""
        async with self.system.http.get(f"{self.system.sandbox_url}/_sandbox/state") as answer:
            found: dict[str, int] = (await answer.json())["webhooks"]
            return found

    async def until_delivered(self, count: int) -> None:
        """Wait until `count` deliveries were accepted."""

        async def there() -> bool:
            return (await self.delivered())["delivered"] >= count

        await wait_until(there, f"{count} deliveries")

    async def execution_of(self, label: str) -> str:
        """The run that a label started, as the provider's dashboard shows it."""
        params = {"label": label}
        url = f"{self.system.sandbox_url}/_sandbox/executions"
        async with self.system.http.get(url, params=params) as answer:
            return str((await answer.json())["items"][-1]["id"])
