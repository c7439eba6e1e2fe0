"""What a Redis server says of itself: identity, clock, configuration, channels."""

from collections.abc import Sequence
from typing import Any, cast

from redis.exceptions import ResponseError

from worker.redis.primary import Primary
from worker.store.client import Client, unix_time


class RedisServer:
    """The server behind a client. Every method raises `redis.exceptions.RedisError`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def primary(self) -> Primary:
        """What the connections lead to."""
        found: Primary = cast("Any", self._client.redis).connection_pool.primary
        return found

    async def ping(self) -> None:
        """Return when the server has replied."""
        await self._client.call("PING")

    async def run_id(self) -> str:
        """The id of the server's process: another one after a restart or a failover."""
        info: dict[str, Any] = await self._client.call("INFO", "server")
        return str(info.get("run_id"))

    async def info(self) -> dict[str, Any]:
        """The fields of `INFO`; none if the user may not read them."""
        try:
            info: dict[str, Any] = await self._client.call("INFO")
        except ResponseError:
            return {}
        return info

    async def config(self, names: Sequence[str]) -> dict[str, Any] | None:
        """Values of `CONFIG GET`, one command a name; None if the server refuses one."""
        found: dict[str, Any] = {}
        for name in names:
            try:
                found |= await self._client.call("CONFIG GET", name)
            except ResponseError:
                return None
        return found

    async def time(self) -> float:
        """The server's clock, Unix seconds."""
        return unix_time(await self._client.call("TIME"))

    async def channels(self, suffix: str) -> list[str]:
        """The channels with subscribers whose names end in `suffix`; none if that is refused."""
        try:
            found: list[bytes] = await self._client.call("PUBSUB CHANNELS", f"*{suffix}")
        except ResponseError:
            return []
        return [channel.decode("utf-8", "replace") for channel in found]
