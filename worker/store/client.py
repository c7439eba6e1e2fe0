"""The one seam to redis-py: commands in, replies out; everything above it is typed."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

import structlog
from arq import ArqRedis
from redis.exceptions import (
    ConnectionError,  # noqa: A004
    NoPermissionError,
    RedisError,
    ResponseError,
)

log: Final = structlog.get_logger(__name__)

CONFIRM_TIMEOUT_S: Final = 5.0
"""How long a subscription may take until Redis has confirmed it."""

Argument = str | bytes | float | int
Command = Sequence[Argument]

CommitOperation = tuple[str, str, *tuple[Argument, ...]]
"""A letter of `commit.lua`'s grammar, a key, and the letter's arguments."""


class Durability(StrEnum):
    """Whether replicas have a write, where `ReplicaWait` asks for that."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    """Not in time: a failover may lose the write."""


@dataclass(frozen=True, slots=True)
class ReplicaWait:
    """How long an enqueue and a send mark wait for replicas."""

    replicas: int
    timeout_ms: int

    def judge(self, confirming: int) -> Durability:
        """What a reply to `WAIT` means."""
        enough = confirming >= self.replicas
        return Durability.CONFIRMED if enough else Durability.UNCONFIRMED


class BadCursor(ValueError):
    """The cursor is malformed, or belongs to another list."""

    def __init__(
        self,
        message: str = "cursor is not one this list gave out; omit it to start at the top",
    ) -> None:
        super().__init__(message)


class Subscription:
    """The messages of one channel."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub
        self._is_pinged = False

    async def next_message(self, timeout_s: float) -> str | None:
        """The next message; None if none came in time, and after that Redis is pinged.

        Raises `redis.exceptions.RedisError`, also where a ping gets no answer within the next
        `timeout_s`: a connection that drops packets is silent like one without messages.
        """
        message = await self._pubsub.get_message(timeout=timeout_s)
        if message is None:
            if self._is_pinged:
                raise ConnectionError("a ping got no answer")
            await self._pubsub.ping()
            self._is_pinged = True
            return None
        self._is_pinged = False
        return None if message["type"] != "message" else cast("bytes", message["data"]).decode()


class Client:
    """Sends commands. Replies come as Redis sends them: bytes, ints, lists of them."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis
        self.wait_refusal = ""
        """Why Redis does not let this user run `WAIT`; empty where the last one was answered."""

    async def call(self, *command: Argument) -> Any:
        """Send one command; raises `redis.exceptions.RedisError`."""
        execute = cast("Any", self.redis).execute_command
        return await execute(*command)

    @property
    def generation(self) -> int:
        """Which primary the connections lead to; another number is another server."""
        return int(cast("Any", self.redis).connection_pool.primary.generation)

    def leave_replica(self, generation: int) -> None:
        """Connect anew, since a script was refused as on a replica, by the server of then."""
        if generation == self.generation:
            cast("Any", self.redis).connection_pool.primary.replace("it refuses writes in scripts")

    async def call_and_wait(self, command: Command, wait: ReplicaWait) -> tuple[Any, int]:
        """Send one command and `WAIT` behind it: `WAIT` counts what its connection wrote.

        Returns the reply, and how many replicas have confirmed it. Once the reply is there, no
        failure is an error: then none has confirmed it. Raises `redis.exceptions.RedisError`.
        """
        pool = cast("Any", self.redis).connection_pool
        connection = await pool.get_connection()
        exchange = _WaitExchange(connection, command, wait)
        try:
            await connection.retry.call_with_retry(exchange.send, exchange.disconnect)
        except (RedisError, OSError):
            if exchange.reply is None:
                raise
        finally:
            await pool.release(connection)
        self.wait_refusal = exchange.refusal
        return exchange.reply, exchange.confirming

    async def many(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip (no transaction); raises the first error."""
        replies = await self.try_many(commands)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    async def try_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip; the reply to a refused command is its error."""
        return await self._pipeline(commands, transaction=False)

    async def try_transaction(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one atomic step; the reply to a refused command is its error."""
        return await self._pipeline(commands, transaction=True)

    async def _pipeline(self, commands: Sequence[Command], *, transaction: bool) -> list[Any]:
        if not commands:
            return []
        pipe = cast("Any", self.redis.pipeline(transaction=transaction))
        for command in commands:
            pipe.execute_command(*command)
        return cast("list[Any]", await pipe.execute(raise_on_error=False))

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncGenerator[Subscription]:
        """Messages of a channel, from when Redis has confirmed the subscription."""
        pubsub = cast("Any", self.redis).pubsub()
        try:
            await pubsub.subscribe(channel)
            if await pubsub.get_message(timeout=CONFIRM_TIMEOUT_S) is None:
                raise ConnectionError("a subscription got no answer")
            yield Subscription(pubsub)
        finally:
            await pubsub.aclose()


class _WaitExchange:
    """A command and `WAIT`, sent as often as it takes."""

    def __init__(self, connection: Any, command: Command, wait: ReplicaWait) -> None:
        self._connection = connection
        self._commands = (command, ("WAIT", wait.replicas, wait.timeout_ms))
        self.reply: Any = None
        """The reply to the command, of the last try that had one."""
        self.confirming = 0
        """How many replicas have confirmed it."""
        self.refusal = ""
        """Why the user may not run `WAIT`."""

    async def disconnect(self, error: Exception) -> None:
        """End the connection, on which replies may be under way."""
        del error
        await self._connection.disconnect(nowait=True)

    async def send(self) -> None:
        """Send both, and read both replies."""
        connection = self._connection
        packed = [part for one in self._commands for part in connection.pack_command(*one)]
        await connection.send_packed_command(packed)
        try:
            self.reply = await connection.read_response()
        except ResponseError:
            with suppress(ResponseError):
                await connection.read_response()
            raise
        try:
            self.confirming = int(await connection.read_response())
        except ResponseError as error:
            log.warning("redis.wait_refused", error=str(error))
            if isinstance(error, NoPermissionError) or "unknown command" in str(error):
                self.refusal = str(error)


def unix_time(reply: Sequence[bytes]) -> float:
    """The Unix seconds of a reply to TIME."""
    seconds, microseconds = reply
    return int(seconds) + int(microseconds) / 1e6


def pairs(reply: Sequence[bytes]) -> list[tuple[str, float]]:
    """Members and scores of a `WITHSCORES` reply."""
    return [
        (member.decode(), float(score))
        for member, score in zip(reply[::2], reply[1::2], strict=True)
    ]


def texts(reply: Sequence[bytes]) -> list[str]:
    """A list of bytes as a list of strings."""
    return [member.decode() for member in reply]


def numbers(reply: Mapping[bytes, bytes]) -> dict[str, float]:
    """The fields of a hash that hold numbers."""
    found: dict[str, float] = {}
    for field, text in reply.items():
        try:
            found[field.decode()] = float(text)
        except ValueError:
            continue
    return found
