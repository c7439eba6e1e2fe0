"""Reads a pub/sub channel for as long as a process runs.

A message may get lost while Redis is away. That costs speed only: every reader also polls.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType
from typing import Final

import structlog
from redis.exceptions import RedisError

from worker.engine.wakeups import Wakeup
from worker.store.client import Client
from worker.store.refusals import error_word, redis_refusal
from worker.tasks import cancel_and_wait, is_being_cancelled

log: Final = structlog.get_logger(__name__)

RECONNECT_PAUSE_S: Final = 0.5
REFUSED_PAUSE_S: Final = 15.0
"""The pause where an operator must act first, as for a user without channels."""

SILENCE_S: Final = 4.0
"""After so long without a message Redis is pinged, and after as long without an answer the
subscription counts as lost."""


class Subscriber:
    """The messages of one channel; subscribes again while Redis is away."""

    def __init__(self, client: Client, channel: str) -> None:
        self._client = client
        self._channel = channel
        self.subscribed = asyncio.Event()
        """Set while messages arrive."""

    async def messages(self) -> AsyncGenerator[str]:
        """Every message, without end. The cause of a loss is logged once."""
        logged = ""
        while not is_being_cancelled():
            try:
                async with self._client.subscribe(self._channel) as subscription:
                    self.subscribed.set()
                    logged = ""
                    while not is_being_cancelled():
                        message = await subscription.next_message(SILENCE_S)
                        if message is not None:
                            yield message
            except (RedisError, OSError) as error:
                self.subscribed.clear()
                if error_word(error) != logged:
                    logged = error_word(error)
                    log.warning("subscription.lost", channel=self._channel, error=logged)
                refusal = redis_refusal(error)
                is_denied = refusal is not None and refusal.needs_operator
                await asyncio.sleep(REFUSED_PAUSE_S if is_denied else RECONNECT_PAUSE_S)
            finally:
                self.subscribed.clear()


class WakeupSubscriber:
    """Notifies a service of this process at every message of a channel.

    `named`: services that are notified instead, each by one message of its own.
    """

    def __init__(
        self,
        client: Client,
        channel: str,
        wakeup: Wakeup,
        named: Mapping[str, Wakeup] = MappingProxyType({}),
    ) -> None:
        self._subscriber = Subscriber(client, channel)
        self._wakeup = wakeup
        self._named = named
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start reading."""
        self._task = asyncio.create_task(self._run(), name="subscriber")

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def _run(self) -> None:
        async for message in self._subscriber.messages():
            for word in message.split():  # messages of one moment come as one
                self._named.get(word, self._wakeup).notify()
