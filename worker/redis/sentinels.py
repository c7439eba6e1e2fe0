"""Asks Sentinels which server is the primary."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any, Final, cast

import structlog
from arq import ArqRedis
from redis.exceptions import RedisError

from worker.redis.primary_choice import Choice, PrimaryChoice, SentinelAnswer
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

ANSWER_TIMEOUT_S: Final = 0.8
"""How long one Sentinel may take. It is less than a confirmation counts."""

STRAGGLER_S: Final = 0.05
"""How much longer the others may take once more than half of them agree."""

SWITCH_CHANNEL: Final = "+switch-master"
"""The channel on which a Sentinel announces that it names another primary."""


class SentinelClients:
    """The Sentinels of one service."""

    def __init__(self, clients: Sequence[ArqRedis], service: str) -> None:
        self.clients = tuple(clients)
        self._service = service
        self._choice = PrimaryChoice(len(self.clients))
        self.problem = f"{service!r} is not known"
        """Why the last that did not answer gave no answer."""
        self._logged = ""

    @property
    def needed(self) -> int:
        """How many must name the primary: the others alone cannot make a failover."""
        return self._choice.needed

    async def ask(self) -> list[SentinelAnswer]:
        """The answers of all Sentinels that answer in time."""
        tasks = {asyncio.create_task(self._ask_one(client)) for client in self.clients}
        pending, answers = tasks, list[SentinelAnswer]()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S) as limit:
                while pending:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    answers += [found for task in done if (found := task.result()) is not None]
                    if self._choice.agree(answers):
                        soon = asyncio.get_running_loop().time() + STRAGGLER_S
                        limit.reschedule(min(limit.when() or soon, soon))
        except TimeoutError:
            pass
        finally:
            await cancel_and_wait(*pending)
        return answers

    async def choose(self, known: SentinelAnswer | None, asked_at: float) -> Choice:
        """Ask them for the primary. `asked_at` is now, by a monotonic clock."""
        answers = await self.ask()
        choice = self._choice.choose(answers, known, asked_at)
        if not choice.problem:
            return choice
        if choice.problem != self._logged:
            log.warning("redis.sentinels_unclear", service=self._service, why=choice.problem)
        self._logged = choice.problem
        if len(answers) == len(self.clients):
            return choice
        return dataclasses.replace(choice, problem=f"{choice.problem} ({self.problem})")

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
            epoch = int(facts[b"config-epoch"])
            return SentinelAnswer((host.decode(), int(port)), epoch, _name(client))
        except (RedisError, OSError, ValueError, TypeError, KeyError) as error:
            self.problem = f"{self._service!r}: {error}"
            return None


def _name(client: ArqRedis) -> str:
    options = cast("Any", client.connection_pool).connection_kwargs
    return f"{options['host']}:{options['port']}"
