"""Asks Sentinels which server is the primary."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from arq import ArqRedis
from redis.exceptions import RedisError

from worker.tasks import cancel_and_wait

ANSWER_TIMEOUT_S: Final = 0.8
"""How long one Sentinel may take. It is less than a confirmation counts."""

STRAGGLER_S: Final = 0.05
"""How much longer the others may take once enough Sentinels have answered."""

RESET_AFTER_S: Final = 5.0
"""After this time a lower epoch counts that most Sentinels name: they have lost the higher one."""

SWITCH_CHANNEL: Final = "+switch-master"
"""The channel on which a Sentinel announces that it names another primary."""


@dataclass(frozen=True, slots=True)
class SentinelAnswer:
    """The primary that a Sentinel names."""

    address: tuple[str, int]
    epoch: int
    """Of the failover that made it the primary: a higher one is newer."""

    def __str__(self) -> str:
        host, port = self.address
        return f"{host}:{port}, epoch {self.epoch}"


class SentinelClients:
    """The Sentinels of one service."""

    def __init__(self, clients: Sequence[ArqRedis], service: str) -> None:
        self.clients = tuple(clients)
        self._service = service
        self._lower_since: float | None = None
        self.problem = f"{service!r} is not known"
        """Why no primary is known."""

    @property
    def needed(self) -> int:
        """How many must answer: the others alone cannot make a failover, which takes a majority."""
        return (len(self.clients) + 1) // 2

    async def ask(self) -> list[SentinelAnswer]:
        """The answers of all Sentinels that answer in time."""
        tasks = {asyncio.create_task(self._ask_one(client)) for client in self.clients}
        pending, answers = tasks, list[SentinelAnswer]()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S) as limit:
                while pending:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    answers += [found for task in done if (found := task.result()) is not None]
                    if len(answers) >= self.needed:
                        soon = asyncio.get_running_loop().time() + STRAGGLER_S
                        limit.reschedule(min(limit.when() or soon, soon))
        except TimeoutError:
            pass
        finally:
            await cancel_and_wait(*pending)
        return answers

    def choose(
        self, answers: Collection[SentinelAnswer], known: SentinelAnswer | None, now: float
    ) -> SentinelAnswer | None:
        """The primary to use: of the highest epoch. None if it is not known.

        A lower epoch than the known one comes from a Sentinel that was away during the failover.
        It counts when most Sentinels have named lower ones for `RESET_AFTER_S`: they were set up
        again. `now` is of a monotonic clock.
        """
        newest = max(answers, key=lambda answer: answer.epoch, default=known)
        if known is None or newest is None or newest.epoch >= known.epoch:
            self._lower_since = None
            return newest
        if self._lower_since is None or len(answers) <= len(self.clients) // 2:
            self._lower_since = now
        return newest if now - self._lower_since >= RESET_AFTER_S else known

    async def close(self) -> None:
        """Close the connections."""
        for client in self.clients:
            await client.aclose(close_connection_pool=True)

    async def _ask_one(self, client: ArqRedis) -> SentinelAnswer | None:
        try:
            async with cast("Any", client.pipeline(transaction=False)) as pipe:
                pipe.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
                pipe.execute_command("SENTINEL", "MASTER", self._service)
                (host, port), fields = await pipe.execute()
            facts = dict(zip(fields[::2], fields[1::2], strict=True))
            return SentinelAnswer((host.decode(), int(port)), int(facts[b"config-epoch"]))
        except (RedisError, OSError, ValueError, TypeError, KeyError) as error:
            self.problem = f"{self._service!r}: {error}"
            return None
