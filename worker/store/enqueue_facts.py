"""What an enqueue is checked against, in one read that many enqueues share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from jobs.holds import target_holds_by_owner
from jobs.indexes import Index
from worker.store.accounts import reported_lately
from worker.store.client import Client, Command, numbers, pairs, texts
from worker.store.holds import decode_holds
from worker.store.keys import Keys


class OpenJobs(NamedTuple):
    """The jobs of a token that have not settled."""

    jobs: int = 0
    input_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EnqueueFacts:
    """Accounts, lanes, holds, memory and open jobs at one moment."""

    accounts: frozenset[str] = frozenset()
    """Accounts that workers have keys for; empty if no worker ever reported any."""
    lanes: frozenset[str] = frozenset()
    hold_count: int = 0
    target_holds: Mapping[str, int] = field(default_factory=dict[str, int])
    """Holds on targets, by `jobs.tenants.hold_owner`."""
    used_memory: int = 0
    max_memory: int = 0
    """Bytes that Redis may use; 0: it has no limit, or does not tell."""
    callback_bytes: int = 0
    """What all callbacks take in Redis."""
    open_jobs: Mapping[str, OpenJobs] = field(default_factory=dict[str, OpenJobs])
    """By token, of those that were asked for."""


class EnqueueFactsStore:
    """The facts of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def read(self, tokens: Sequence[str]) -> EnqueueFacts:
        """The facts, with the open jobs of some tokens, in one round trip."""
        commands: list[Command] = [
            ("HGETALL", self._keys.accounts),
            ("ZRANGE", self._keys.lanes, 0, -1),
            ("HGETALL", self._keys.holds),
            ("INFO", "memory"),
            ("HGET", self._keys.callback_use, "bytes"),
        ]
        commands += [
            ("ZRANGE", self._keys.index(Index.OPEN, name), 0, -1, "WITHSCORES") for name in tokens
        ]
        accounts, lanes, holds, memory, callbacks, *opened = await self._client.try_many(commands)
        for reply in (accounts, lanes, holds, callbacks, *opened):
            if isinstance(reply, Exception):
                raise reply
        counts = [[size for _, size in pairs(rows)] for rows in opened]
        return EnqueueFacts(
            accounts=reported_lately(numbers(accounts)),
            lanes=frozenset(texts(lanes)),
            hold_count=len(holds),
            target_holds=target_holds_by_owner(decode_holds(holds)),
            used_memory=_number(memory, "used_memory"),
            max_memory=_number(memory, "maxmemory"),
            callback_bytes=int(callbacks or 0),
            open_jobs={
                name: OpenJobs(len(sizes), int(sum(sizes)))
                for name, sizes in zip(tokens, counts, strict=True)
            },
        )


def _number(info: Any, name: str) -> int:
    """A number of the reply to INFO; 0 where the user may not ask."""
    return int(cast("dict[str, Any]", info).get(name, 0)) if isinstance(info, dict) else 0
