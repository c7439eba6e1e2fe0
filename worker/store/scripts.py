"""The Lua scripts, each behind a wrapper that types its KEYS, ARGV and reply."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from importlib.resources import files
from typing import Any, Final, NamedTuple, TypeVar

from redis.exceptions import NoScriptError, ResponseError

from worker.store.announcements import Announcements
from worker.store.audit_chain import AuditChain
from worker.store.client import Argument, Client, Command, ReplicaWait, pairs, texts
from worker.store.commit import Change, assemble

T = TypeVar("T")

SCRIPT_NAMES: Final = (
    "amend",
    "callbacks",
    "claim",
    "commit",
    "count",
    "poll",
    "receive",
    "remove_seen",
    "repair",
    "reschedule",
    "retire",
    "schedule",
    "seal_batch",
    "skip_tick",
    "swap",
)

MAX_BATCH_CHANGES: Final = 128
"""Changes written by one call of `commit.lua`."""

MAX_BATCH_BYTES: Final = 1 << 20
"""What one call may write, unless a single change is larger."""

MAX_SWAP_ATTEMPTS: Final = 200
"""Tries of one write of a hash field."""

MAX_SCRIPT_LOADS: Final = 5
"""Loads of a script for one call of it."""

MAX_CLAIMED_POLLS: Final = 2_000
"""Polls claimed by one call: Lua unpacks 8,000 values at most."""


CHAIN_MOVED: Final = "CHAIN"
"""First word of a reply: another process appended an audit entry meanwhile."""


class CommitResult(StrEnum):
    """What `commit.lua` replies for a change; any other reply is the text of a Redis error."""

    OK = "ok"
    SUPERSEDED = "superseded"
    FULL = "full"
    GATED = "gated"
    TAKEN = "taken"


PART_LINE: Final = re.compile(r"^--#include (\w+)$", re.MULTILINE)
"""A line in a script in whose place the text of a part of it comes."""


def source(name: str) -> str:
    """The Lua text of a script, with its parts."""
    folder = files("worker.store") / "lua"

    def part(line: re.Match[str]) -> str:
        return (folder / "parts" / f"{line[1]}.lua").read_text(encoding="utf-8").rstrip()

    return PART_LINE.sub(part, (folder / f"{name}.lua").read_text(encoding="utf-8"))


def script_digest(name: str) -> str:
    """What EVALSHA calls a script by."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


class _PendingCommit(NamedTuple):
    change: Change
    done: "asyncio.Future[CommitResult]"


class Scripts:
    """Runs the scripts. Commits that are requested at the same time share a round trip."""

    def __init__(
        self,
        client: Client,
        announcements: Announcements | None = None,
        wait: ReplicaWait | None = None,
        chain: AuditChain | None = None,
    ) -> None:
        self._client = client
        self.chain = chain or AuditChain()
        self.announcements = announcements or Announcements(client)
        self._wait = wait
        self._sources = {name: source(name) for name in SCRIPT_NAMES}
        self._shas = {name: script_digest(name) for name in SCRIPT_NAMES}
        self._pending: list[_PendingCommit] = []
        self._flush: asyncio.Task[None] | None = None

    async def claim(self, key: str, now: float, lease_until: float, limit: int) -> list[str]:
        """Claim at most `limit` members that are due; they are due again at `lease_until`."""
        return texts(await self._run("claim", [key], [now, lease_until, limit]))

    async def claim_callbacks(
        self, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> list[bytes]:
        """Claim callbacks of a host: the record of its breaker, then the ids."""
        found: list[bytes] = await self._run("callbacks", keys, args)
        return found

    async def amend(self, keys: Sequence[Argument], args: Sequence[Argument]) -> bool:
        """Replace a string and change sorted sets with it; False where it is another one."""
        return bool(await self._run("amend", keys, args))

    async def poll(
        self,
        keys: tuple[str, str],
        now: float,
        lease_until: float,
        limit: int,
        skipped: Sequence[str] = (),
    ) -> tuple[list[tuple[str, float, bytes | None]], float | None]:
        """Claim at most `limit` due polls: job id, when it was due, stored poll history each.

        `skipped` are not claimed. The second value is when the next poll is due; None if no other
        job is in flight.
        """
        args: list[Argument] = [now, lease_until, min(limit, MAX_CLAIMED_POLLS), *skipped]
        due, histories, first = await self._run("poll", keys, args)
        found = [
            (job_id, at, history)
            for (job_id, at), history in zip(pairs(due), histories, strict=True)
        ]
        return found, float(first) if first else None

    async def reschedule(
        self, keys: tuple[str, str], jobs: Iterable[tuple[str, float | None, float, str]]
    ) -> int:
        """Set next polls from `(job id, lease or None, time of next poll, poll history)` each.

        Returns how many were set.
        """
        args: list[Argument] = []
        for job_id, lease, at, history in jobs:
            args += [job_id, "" if lease is None else lease, at, history]
        return int(await self._run("reschedule", keys, args))

    async def receive(self, keys: Sequence[Argument], args: Sequence[Argument]) -> str:
        """Store a webhook delivery: "new", "known" or "ended"."""
        found: bytes = await self._run("receive", keys, args)
        result, _, refused = found.decode().partition(" ")
        if refused:
            self.announcements.record_refusal(refused)
        return result

    async def count(self, keys: Sequence[Argument], args: Sequence[Argument]) -> bool:
        """Add to counters; False if this flush was added before."""
        return bool(await self._run("count", keys, args))

    async def repair(self, keys: Sequence[Argument], args: Sequence[Argument]) -> int:
        """Change entries; returns how many, or -1 if the first key changed since it was read."""
        return int(await self._run("repair", keys, args))

    async def remove_entry(self, job_key: str, index_key: str, rev: str, job_id: str) -> bool:
        """Remove a job id from an index if its record still has this revision (empty: none)."""
        return await self.repair([job_key, index_key], [rev, "R", 2, job_id]) > 0

    async def swap(self, key: str, field: str | bytes, expected: bytes, value: bytes) -> bool:
        """Replace a hash field if it still is `expected` (empty: absent; empty value: delete)."""
        return bool(await self._run("swap", [key], [field, expected, value]))

    async def set_schedule(self, keys: Sequence[Argument], args: Sequence[Argument]) -> str:
        """Set or remove a schedule: "ok", "superseded" or "full"."""
        found: bytes = await self._run("schedule", keys, args)
        return found.decode()

    async def skip_tick(self, keys: Sequence[Argument], args: Sequence[Argument]) -> bool:
        """Leave ticks of a schedule out; False if it changed, or they are not due."""
        return bool(await self._run("skip_tick", keys, args))

    async def update_field(
        self,
        key: str,
        field: str,
        *,
        decode: Callable[[bytes], T],
        transform: Callable[[T], T],
        encode: Callable[[T], bytes],
    ) -> T:
        """Replace a field of a hash by what `transform` makes of it; returns the new value.

        `decode` gets `b""` for an absent field; `encode` returns `b""` to delete it. `transform` is
        called again after each lost race. An equal value is not written. Raises RuntimeError after
        `MAX_SWAP_ATTEMPTS` lost races: only other processes race, so more mean a fault.
        """
        for _ in range(MAX_SWAP_ATTEMPTS):
            found: bytes = await self._client.call("HGET", key, field) or b""
            before = decode(found)
            after = transform(before)
            if after == before and after is not None:
                return after
            if await self.swap(key, field, found, encode(after)):
                return after
        raise RuntimeError(f"{field} of {key} changed {MAX_SWAP_ATTEMPTS} times during one write")

    async def retire(
        self, register: str, name: str, must_be_absent: Sequence[str], deleted: Sequence[str] = ()
    ) -> bool:
        """Remove a name from a register if none of the keys exists; others are deleted with it."""
        keys = [register, *must_be_absent, *deleted]
        return bool(await self._run("retire", keys, [name, len(deleted)]))

    async def seal_batch(self, keys: Sequence[Argument], args: Sequence[Argument]) -> bool:
        """Let no more jobs join a batch; False if it was sealed before."""
        return bool(await self._run("seal_batch", keys, args))

    async def remove_seen(self, key: str, member: str, score: float) -> None:
        """Remove a member of a sorted set, unless its score has grown."""
        await self._run("remove_seen", [key], [member, score])

    async def commit(self, change: Change) -> CommitResult:
        """Write a change. Changes that are requested at the same time share one call.

        One that awaits replicas gets its `durability`, whatever the result: what is there already
        is waited for, too.

        Raises `redis.exceptions.RedisError`.
        """
        done: asyncio.Future[CommitResult] = asyncio.get_running_loop().create_future()
        self._pending.append(_PendingCommit(change, done))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._flush_all())
        return await done

    async def _flush_all(self) -> None:
        while self._pending:
            batch = self._next_batch()
            try:
                keys, args = assemble([pending.change for pending in batch], self.chain)
                replies = await self._run_at_primary(batch, keys, args)
            except Exception as error:  # noqa: BLE001  no caller may wait for ever
                for pending in batch:
                    if not pending.done.done():
                        pending.done.set_exception(error)
                continue
            except asyncio.CancelledError:
                for pending in (*batch, *self._pending):
                    pending.done.cancel()
                self._pending = []
                raise
            self._settle(batch, replies)

    def _settle(self, batch: Sequence[_PendingCommit], replies: Sequence[str]) -> None:
        """Give each change its reply; what comes after them was not announced."""
        for refused in replies[len(batch) :]:
            self.announcements.record_refusal(refused)
        behind: list[_PendingCommit] = []
        for pending, reply in zip(batch, replies, strict=False):
            word, _, head = reply.partition(" ")
            if word == CHAIN_MOVED:
                self.chain.head = head
                behind.append(pending)  # its audit entry belongs behind another one
                continue
            if reply == CommitResult.OK and pending.change.audit_hash:
                self.chain.head = pending.change.audit_hash
            if pending.done.done():
                continue
            try:
                pending.done.set_result(CommitResult(reply))
            except ValueError:
                pending.done.set_exception(ResponseError(reply))
        self._pending = behind + self._pending

    def _next_batch(self) -> list[_PendingCommit]:
        """The next changes of one call: at most one of a job, since their order counts."""
        jobs: set[str] = set()
        size = count = 0
        for change, _ in self._pending[:MAX_BATCH_CHANGES]:
            size += change.size
            if change.key in jobs or (count and size > MAX_BATCH_BYTES):
                break
            jobs.update([change.key] if change.key else [])
            count += 1
        batch, self._pending = self._pending[:count], self._pending[count:]
        return batch

    async def _run_at_primary(
        self, batch: Sequence[_PendingCommit], keys: Sequence[Argument], args: Sequence[Argument]
    ) -> list[str]:
        """Run `commit.lua`, once more where the server turns out to be a replica."""
        generation = self._client.generation
        replies = texts(await self._run_durably(batch, keys, args))
        if any("READONLY" in reply for reply in replies):
            self._client.leave_replica(generation)
            replies = texts(await self._run_durably(batch, keys, args))
        return replies

    async def _run_durably(
        self, batch: Sequence[_PendingCommit], keys: Sequence[Argument], args: Sequence[Argument]
    ) -> Any:
        """Run `commit.lua`, and wait for replicas if one of the changes has to."""
        waiting = [pending.change for pending in batch if pending.change.awaits_replicas]
        if self._wait is None or not waiting:
            return await self._run("commit", keys, args)
        command, wait = self._command("commit", keys, args), self._wait
        reply, confirming = await self._load_and_call(
            "commit", lambda: self._client.call_and_wait(command, wait)
        )
        for change in waiting:
            change.durability = wait.judge(confirming)
        return reply

    async def _run(self, name: str, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        command = self._command(name, keys, args)
        return await self._load_and_call(name, lambda: self._client.call(*command))

    async def _load_and_call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call a script, which is loaded where Redis does not have it.

        Other clients may flush the scripts again and again. Raises NoScriptError where they are
        gone each time.
        """
        for _ in range(MAX_SCRIPT_LOADS):
            try:
                return await call()
            except NoScriptError:
                await self._load(name)
        return await call()

    async def _load(self, name: str) -> None:
        await self._client.call("SCRIPT LOAD", self._sources[name])

    def _command(self, name: str, keys: Sequence[Argument], args: Sequence[Argument]) -> Command:
        return ["EVALSHA", self._shas[name], len(keys), *keys, *args]
