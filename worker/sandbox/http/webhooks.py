"""Webhook deliveries: signed, sent, retried."""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import assert_never

import aiohttp

from worker.sandbox.clock import SandboxClock
from worker.sandbox.config import SandboxConfig
from worker.sandbox.provider.accounts import Hook
from worker.sandbox.provider.replies import JSON, encode
from worker.sandbox.provider.runs import SandboxRun
from worker.sandbox.provider.state import SandboxState
from worker.sandbox.provider.timers import Delivery, TimerQueue

SIGNATURE_HEADER = "X-Knouds-Signature"

_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_MAX_CONCURRENT = 32
_SUCCESS = range(200, 300)


def sign(secret: str, unix_s: int, body: bytes) -> str:
    """Return the signature header: `t=<unix>,v1=<hex>`, the HMAC-SHA256 of `<t>.` + body."""
    digest = hmac.new(secret.encode(), f"{unix_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={unix_s},v1={digest}"


def make_test_delivery(hook: Hook, user_id: str) -> Delivery:
    """Return the delivery of the provider's button "send test"."""
    body = {
        "event": "webhook.test",
        "executionId": "00000000-0000-4000-8000-000000000000",
        "requestId": "test",
        "userId": user_id,
        "status": "completed",
        "result": {"text": "test"},
    }
    return Delivery(hook, encode(body))


@dataclass(slots=True)
class DeliveryCounts:
    """The results of the deliveries; `failed` counts attempts, `given_up` deliveries."""

    sent: int = 0
    delivered: int = 0
    failed: int = 0
    given_up: int = 0


class WebhookSender:
    """Performs the timers: ends of runs and deliveries. It has a task per open request only."""

    def __init__(self, config: SandboxConfig, clock: SandboxClock, timers: TimerQueue) -> None:
        self.counts = DeliveryCounts()
        self._config = config
        self._clock = clock
        self._timers = timers
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._sending: set[asyncio.Task[bool]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def run(self, state: SandboxState) -> None:
        """Perform each entry of the timers at its time, until cancelled."""
        async for entry in self._timers.due_entries(self._clock):
            match entry:
                case SandboxRun():
                    state.settle(entry, self._clock.now())
                case Delivery():
                    task = asyncio.ensure_future(self.deliver(entry))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
                case _:
                    assert_never(entry)

    async def deliver(self, delivery: Delivery) -> bool:
        """Make one attempt; a failed one is repeated with a doubling delay. Returns its success."""
        async with self._slots:
            self.counts.sent += 1
            is_delivered = await self._send(delivery)
        now = self._clock.now()
        if is_delivered:
            self.counts.delivered += 1
            if delivery.run is not None and delivery.run.delivered_at is None:
                delivery.run.delivered_at = now
            return True
        self.counts.failed += 1
        if delivery.attempt >= self._config.webhook_attempts:
            self.counts.given_up += 1
            return False
        wait_s = self._config.webhook_retry_s * 2 ** (delivery.attempt - 1)
        self._timers.push(now + wait_s, replace(delivery, attempt=delivery.attempt + 1))
        return False

    async def _send(self, delivery: Delivery) -> bool:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        signature = sign(delivery.hook.secret, int(self._clock.now()), delivery.body)
        headers = {"Content-Type": JSON, SIGNATURE_HEADER: signature}
        try:
            async with self._session.post(
                delivery.hook.url, data=delivery.body, headers=headers
            ) as response:
                return response.status in _SUCCESS
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False

    async def close(self) -> None:
        """Cancel the open requests."""
        for task in tuple(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
