"""The Lua scripts, each behind a wrapper that types its KEYS, ARGV and reply."""

import asyncio
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

from redis.exceptions import NoScriptError

from worker.store.client import Argument, Client, Command, texts

NAMES: Final = ("commit", "claim", "mend", "receive", "reschedule", "retire", "swap")

PIPELINE_MOST: Final = 500
"""Commits sent in one round trip."""


def source(name: str) -> str:
    """The text of a script."""
    return (files("worker.store") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


class _Waiting(NamedTuple):
    keys: Sequence[str]
    args: Sequence[Argument]
    done: "asyncio.Future[list[bytes]]"


class Scripts:
    """Runs the scripts. Commits that are asked for at the same time share a round trip."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sources = {name: source(name) for name in NAMES}
        self._shas = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in self._sources.items()
        }
        self._waiting: list[_Waiting] = []
        self._flush: asyncio.Task[None] | None = None

    async def claim(self, key: str, now: float, lease_until: float, limit: int) -> list[str]:
        """Take at most `limit` members that are due; they come due again at `lease_until`."""
        return texts(await self._run("claim", [key], [now, lease_until, limit]))

    async def reschedule(self, inflight: str, jobs: Sequence[tuple[str, str, float, str]]) -> int:
        """Set next polls: `(job key, job id, time of next poll, looks)` each."""
        keys = [inflight, *(key for key, _, _, _ in jobs)]
        args: list[Argument] = [arg for _, job_id, at, looks in jobs for arg in (job_id, at, looks)]
        return int(await self._run("reschedule", keys, args))

    async def receive(self, keys: Sequence[Argument], args: Sequence[Argument]) -> str:
        """Store a webhook's delivery; what became of it."""
        found: bytes = await self._run("receive", keys, args)
        return found.decode()

    async def mend(self, keys: Sequence[Argument], args: Sequence[Argument]) -> int:
        """Put entries right; how many changed, or -1 where the first key is not as judged."""
        return int(await self._run("mend", keys, args))

    async def strike(self, job: str, place: str, rev: str, job_id: str) -> bool:
        """Take a job id out of a place, if its record still has this revision (empty: none)."""
        return await self.mend([job, place], [rev, "R", 2, job_id]) > 0

    async def swap(self, key: str, field: str, expected: bytes, value: bytes) -> bool:
        """Replace a hash field if it still is `expected` (empty: absent; empty value: delete)."""
        return bool(await self._run("swap", [key], [field, expected, value]))

    async def retire(self, register: str, name: str, empty: Sequence[str]) -> bool:
        """Take a name off a register if none of the keys exists."""
        return bool(await self._run("retire", [register, *empty], [name]))

    async def commit(self, keys: Sequence[str], args: Sequence[Argument]) -> list[bytes]:
        """Run `commit.lua`; its arguments are made by `worker.store.changes` alone."""
        done: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(keys, args, done))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._flush_all())
        return await done

    async def _flush_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:PIPELINE_MOST], self._waiting[PIPELINE_MOST:]
            replies: list[Any]
            try:
                replies = await self._send(batch)
            except Exception as error:  # noqa: BLE001  whatever it is, nobody waits for ever
                replies = [error] * len(batch)
            except asyncio.CancelledError:
                for waiting in (*batch, *self._waiting):
                    waiting.done.cancel()
                self._waiting = []
                raise
            for waiting, reply in zip(batch, replies, strict=True):
                if waiting.done.done():
                    continue
                if isinstance(reply, Exception):
                    waiting.done.set_exception(reply)
                else:
                    waiting.done.set_result(reply)

    async def _send(self, batch: Sequence[_Waiting]) -> list[Any]:
        commands = [self._command("commit", waiting.keys, waiting.args) for waiting in batch]
        replies = await self._client.try_many(commands)
        missing = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            await self._load("commit")
            again = await self._client.try_many([commands[n] for n in missing])
            for n, reply in zip(missing, again, strict=True):
                replies[n] = reply
        return replies

    async def _run(self, name: str, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        command = self._command(name, keys, args)
        try:
            return await self._client.call(*command)
        except NoScriptError:
            await self._load(name)
            return await self._client.call(*command)

    async def _load(self, name: str) -> None:
        await self._client.call("SCRIPT LOAD", self._sources[name])

    def _command(self, name: str, keys: Sequence[Argument], args: Sequence[Argument]) -> Command:
        return ["EVALSHA", self._shas[name], len(keys), *keys, *args]
