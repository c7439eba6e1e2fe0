"""Webhooks on their way: signed, sent, tried again."""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import assert_never

import aiohttp

from worker.sandbox.clock import Clock
from worker.sandbox.config import SandboxConfig
from worker.sandbox.provider.accounts import Hook
from worker.sandbox.provider.replies import JSON, encode
from worker.sandbox.provider.state import World
from worker.sandbox.provider.timers import Agenda, Delivery, Entry, Settle

SIGNATURE_HEADER = "X-Knouds-Signature"

_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_AT_ONCE = 32
_SUCCESS = range(200, 300)


def sign(secret: str, moment: int, body: bytes) -> str:
    """Return the signature header: `t=<unix>,v1=<hex>`, the HMAC-SHA256 of `<t>.` + body."""
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def synthetic(hook: Hook, user_id: str) -> Delivery:
    """Return the delivery that a person's click on "send test" causes."""
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
class Tally:
    """What became of the deliveries; `failed` counts attempts, `given_up` deliveries."""

    sent: int = 0
    delivered: int = 0
    failed: int = 0
    given_up: int = 0


class Courier:
    """Works off the agenda: ends of runs and deliveries. Holds tasks for open requests only."""

    def __init__(self, config: SandboxConfig, clock: Clock, agenda: Agenda) -> None:
        self.tally = Tally()
        self._config = config
        self._clock = clock
        self._agenda = agenda
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._open: set[asyncio.Task[bool]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def work(self, world: World) -> None:
        """Serve the agenda until cancelled."""

        def perform(entry: Entry) -> None:
            match entry:
                case Settle():
                    world.settle(entry.run, self._clock.now())
                case Delivery():
                    task = asyncio.ensure_future(self.deliver(entry))
                    self._open.add(task)
                    task.add_done_callback(self._open.discard)
                case _:
                    assert_never(entry)

        await self._agenda.work(self._clock, perform)

    async def deliver(self, delivery: Delivery) -> bool:
        """Send one attempt; put a failed one back on the agenda with a doubling delay."""
        async with self._free:
            self.tally.sent += 1
            arrived = await self._send(delivery)
        now = self._clock.now()
        if arrived:
            self.tally.delivered += 1
            if delivery.run is not None and delivery.run.delivered_at is None:
                delivery.run.delivered_at = now
            return True
        self.tally.failed += 1
        if delivery.attempt >= self._config.webhook_attempts:
            self.tally.given_up += 1
            return False
        wait_s = self._config.webhook_retry_s * 2 ** (delivery.attempt - 1)
        self._agenda.push(now + wait_s, replace(delivery, attempt=delivery.attempt + 1))
        return False

    async def _send(self, delivery: Delivery) -> bool:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        signature = sign(delivery.hook.secret, int(self._clock.now()), delivery.body)
        headers = {"Content-Type": JSON, SIGNATURE_HEADER: signature}
        try:
            async with self._session.post(
                delivery.hook.url, data=delivery.body, headers=headers
            ) as answer:
                return answer.status in _SUCCESS
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False

    def begin_anew(self) -> None:
        """Count from zero."""
        self.tally = Tally()

    async def close(self) -> None:
        """Give up what is still open."""
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
