"""A worker's Redis client, where its process can be killed, stalled or disconnected.

Faults happen at commands only. What a worker does between two commands is atomic, as it is for its
event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar, assert_never

from arq import ArqRedis
from redis.exceptions import ConnectionError  # noqa: A004

from worker.store.client import Argument, Client, Command

T = TypeVar("T")


class ProcessKilled(BaseException):
    """The process is dead. It is no `Exception`, so that no handler of the program catches it."""


class RedisFaultKind(Enum):
    """What can happen at a command."""

    KILL = auto()
    """The process is killed."""
    STALL = auto()
    """The process stalls until it is woken."""
    BLIP = auto()
    """The connection is lost for longer than the client retries."""
    ECHO = auto()
    """The reply is lost, and the client sends the command again."""


@dataclass(slots=True)
class RedisFault:
    """A fault to come."""

    kind: RedisFaultKind
    after: int = 0
    """Commands that succeed before it."""
    taken: bool = False
    """The command takes effect, and only its reply is lost. That of an echo always does."""
    times: int = 1


class FaultyRedisClient(Client):
    """A client with faults."""

    def __init__(self, redis: ArqRedis) -> None:
        super().__init__(redis)
        self.dead = False
        self.under_way = 0
        """Commands that were sent and not answered yet."""
        self.faults: list[RedisFault] = []
        self.when_killed: Callable[[], None] = lambda: None
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def asleep(self) -> bool:
        """Whether the process is stalled."""
        return not self._awake.is_set()

    def kill(self) -> None:
        """Kill the process: none of its commands reaches Redis from now on."""
        if not self.dead:
            self.dead = True
            self._awake.set()
            self.when_killed()

    def stall(self) -> None:
        """Stall the process at its next command."""
        self._awake.clear()

    def wake(self) -> None:
        """Let a stalled process continue."""
        self._awake.set()

    async def call(self, *command: Argument) -> Any:
        """Send one command."""
        send = super().call
        return await self._through(lambda: send(*command))

    async def try_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip."""
        send = super().try_many
        return await self._through(lambda: send(commands))

    async def _through(self, send: Callable[[], Awaitable[T]]) -> T:
        await self._alive()
        fault = self._due()
        if fault is not None and not fault.taken:
            await self._apply_fault(fault.kind)
        reply = await self._counted(send)
        if fault is not None and fault.kind is RedisFaultKind.ECHO:
            reply = await self._counted(send)
        elif fault is not None and fault.taken:
            await self._apply_fault(fault.kind)
        await self._alive()
        return reply

    async def _counted(self, send: Callable[[], Awaitable[T]]) -> T:
        self.under_way += 1
        try:
            return await send()
        finally:
            self.under_way -= 1

    async def _alive(self) -> None:
        await self._awake.wait()
        if self.dead:
            raise ProcessKilled

    async def _apply_fault(self, kind: RedisFaultKind) -> None:
        match kind:
            case RedisFaultKind.KILL:
                self.kill()
                raise ProcessKilled
            case RedisFaultKind.STALL:
                self.stall()
                await self._alive()
            case RedisFaultKind.BLIP:
                raise ConnectionError("blip")
            case RedisFaultKind.ECHO:
                return
            case _:
                assert_never(kind)

    def _due(self) -> RedisFault | None:
        """The fault that happens at the current command, or None."""
        if not self.faults:
            return None
        fault = self.faults[0]
        if fault.after > 0:
            fault.after -= 1
            return None
        fault.times -= 1
        if fault.times <= 0:
            del self.faults[0]
        return fault
