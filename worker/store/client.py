"""The one seam to redis-py: commands in, replies out, everything above it typed."""

from collections.abc import Sequence
from typing import Any, cast

from arq import ArqRedis
from redis.exceptions import RedisError

Argument = str | bytes | float | int
Command = Sequence[Argument]


class Client:
    """Sends commands. Replies come as Redis sends them: bytes, ints, lists of them."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis

    async def call(self, *command: Argument) -> Any:
        """Send one command; raises `redis.exceptions.RedisError`."""
        execute = cast("Any", self.redis).execute_command
        return await execute(*command)

    async def many(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip (no transaction); raises the first error."""
        replies = await self.try_many(commands)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    async def try_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip; a refused command has its error as its reply."""
        if not commands:
            return []
        pipe = cast("Any", self.redis.pipeline(transaction=False))
        for command in commands:
            pipe.execute_command(*command)
        return cast("list[Any]", await pipe.execute(raise_on_error=False))


def pairs(reply: Sequence[bytes]) -> list[tuple[str, float]]:
    """Members and scores of a `WITHSCORES` reply."""
    return [
        (member.decode(), float(score))
        for member, score in zip(reply[::2], reply[1::2], strict=True)
    ]


def texts(reply: Sequence[bytes]) -> list[str]:
    """A list of bytes as a list of strings."""
    return [member.decode() for member in reply]
