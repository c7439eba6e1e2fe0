"""A worker's line to Redis: the one seam where its process can be killed, stopped or cut off.

Only commands are touched, so whatever a worker does between two of them is one piece, as it is for
its event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from arq import ArqRedis
from redis.exceptions import ConnectionError  # noqa: A004

from worker.store.client import Argument, Client, Command

T = TypeVar("T")


class ProcessKilled(BaseException):
    """The process is gone: nothing of it goes on. No handler of the program catches it."""


class RedisFaultKind(Enum):
    """What can befall a command."""

    KILL = auto()
    """The process is killed."""
    STALL = auto()
    """The process stands still until it is woken."""
    BLIP = auto()
    """The connection breaks, longer than the client's own retries last."""
    ECHO = auto()
    """The reply is lost and the client sends the command again, as its retries do."""


@dataclass(slots=True)
class RedisFault:
    """A mishap to come."""

    kind: RedisFaultKind
    after: int = 0
    """Commands that get through before it."""
    taken: bool = False
    """The command takes effect, only its reply is lost. An echo always does."""
    times: int = 1


class FaultyRedisClient(Client):
    """A client with a fate."""

    def __init__(self, redis: ArqRedis) -> None:
        super().__init__(redis)
        self.dead = False
        self.under_way = 0
        """Commands that Redis has and did not answer yet."""
        self.faults: list[RedisFault] = []
        self.when_killed: Callable[[], None] = lambda: None
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def asleep(self) -> bool:
        """Whether the process stands still."""
        return not self._awake.is_set()

    def kill(self) -> None:
        """Let nothing of this process reach Redis any more."""
        if not self.dead:
            self.dead = True
            self._awake.set()
            self.when_killed()

    def stall(self) -> None:
        """Stop the process where it is."""
        self._awake.clear()

    def wake(self) -> None:
        """Let it go on."""
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

    def _due(self) -> RedisFault | None:
        """The fault that befalls the present command, if one does."""
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
