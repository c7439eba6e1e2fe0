"""The recovery state of a namespace in Redis, see `jobs.data_recovery`."""

import asyncio
import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from jobs.data_recovery import (
    DataOrigin,
    RecoveryFacts,
    RecoveryState,
    is_mistaken,
    next_state,
)
from worker.store.client import Client, unix_time
from worker.store.keys import Keys
from worker.store.scripts import Scripts
from worker.store.workers import Heartbeat, decode_heartbeats

log: Final = structlog.get_logger(__name__)

STATE_FIELD: Final = "state"
"""`ready|recovering <epoch> <run id><replication id> <since> new|emptied|older`, which `commit.lua`
reads, too. Every other field but the count is a worker, with the epoch of the last recovery that it
has done its part of; or `AWAITED` and a worker, with that of the last one in which it was known to
be alive."""

COUNT_FIELD: Final = "count"
"""A number that every worker counts up about once a second: it falls only where the data is an
older one, as after `SWAPDB` or `DEBUG RELOAD`. `commit.lua` reads it, too."""

AWAITED: Final = "?"

ALIVE_WITHIN_S: Final = 60.0
"""A worker whose heartbeat is older than the newest one by more was not alive any more."""

_ASK_SERVER: Final = (("INFO", "server"), ("INFO", "replication"))

READY_WITHIN_S: Final = 2.0
PAUSE_S: Final = 0.1
"""Between two looks at a recovery that others have to end."""


class RecoveryStore:
    """Reads the recovery state, and takes its next steps."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._wait: asyncio.Task[bool] | None = None
        self._last_epoch: str | None = None
        self._last_count = 0
        """The highest count that was seen in the last epoch."""
        self.reported = frozenset[str]()
        """The workers that had done their part when the data was last ready."""

    async def until_ready(self) -> bool:
        """Wait `READY_WITHIN_S` at most until the data may be relied on; whether it may.

        Callers that wait at the same time share the wait.
        """
        if self._wait is None or self._wait.done():
            self._wait = asyncio.create_task(self._until_ready(), name="redis recovery")
        return await asyncio.shield(self._wait)

    async def _until_ready(self) -> bool:
        for _ in range(round(READY_WITHIN_S / PAUSE_S)):
            if (await self.advance()).is_ready:
                return True
            await asyncio.sleep(PAUSE_S)
        return False

    def data_mark(self, epoch: str) -> str:
        """What a send mark has to find, for `commit.lua`: the epoch and a count that is reached."""
        return f"{epoch}:{self._last_count if epoch == self._last_epoch else 0}"

    async def advance(
        self, known_workers: Collection[str] = (), *, counts: bool = False
    ) -> RecoveryState:
        """The recovery state, after its next step if there is one.

        `known_workers`: those that the caller knows to be alive; `counts`: count up, as workers do.
        Raises `redis.exceptions.RedisError`.
        """
        state, is_older = await self._read_state(counts=counts)
        if state is None:
            older_epoch = self._last_epoch if is_older else None
            state = await self._next_state(known_workers, older_epoch)
        if state.is_ready and state.epoch != self._last_epoch:
            self._last_epoch, self._last_count = state.epoch, 0
        return state

    async def _next_state(
        self, known_workers: Collection[str], older_epoch: str | None
    ) -> RecoveryState:
        while True:
            text, server = await self._read()
            found = _decode(text)
            epoch = secrets.token_hex(6)
            after = next_state(
                found,
                server,
                known_workers,
                epoch,
                last_epoch=self._last_epoch,
                older_epoch=older_epoch,
            )
            if after is None and found is not None:
                return found
            if after is not None and await self._swap(text, after):
                if not after.is_ready:
                    began = log.info if self._last_epoch is None else log.warning
                    began("redis.recovering", epoch=after.epoch, data=after.origin.value)
                elif found is not None:
                    log.info("redis.recovered", epoch=after.epoch)
                return after

    async def extend(self, epoch: str) -> None:
        """Have all wait longer for a worker that is still writing back."""
        text, server = await self._read()
        found = _decode(text)
        if found is not None and found.epoch == epoch and not found.is_ready:
            await self._swap(text, replace(found, since=server.now))

    async def _swap(self, text: bytes, after: RecoveryState) -> bool:
        return await self._scripts.swap(self._keys.recovery, STATE_FIELD, text, _encode(after))

    async def report(self, worker_id: str, epoch: str, known_workers: Collection[str]) -> None:
        """Record that a worker has done its part, and which others it knows to be alive."""
        awaited = [f"{AWAITED}{other}" for other in known_workers]
        fields = [part for name in (worker_id, *awaited) for part in (name, epoch)]
        await self._client.call("HSET", self._keys.recovery, *fields)

    async def _read_state(self, *, counts: bool) -> tuple[RecoveryState | None, bool]:
        """The state if the data may be relied on: all there is to read in the usual case.

        The second value is whether the data is older than what was seen before.
        """
        counting = [("HINCRBYFLOAT", self._keys.recovery, COUNT_FIELD, 1)] if counts else []
        replies = await self._client.try_many(
            [*counting, ("HGETALL", self._keys.recovery), *_ASK_SERVER]
        )
        has_counted = counts and not isinstance(replies[0], RedisError)  # a full Redis refuses it
        for reply in replies[len(counting) :]:
            if isinstance(reply, RedisError):
                raise reply
        fields, *server = replies[len(counting) :]
        found = _decode(fields.get(STATE_FIELD.encode(), b""))
        if found is None or not found.is_ready or is_mistaken(found, self._last_epoch):
            return None, False
        if found.server != _identity(*server):
            return None, False
        count = int(float(fields.get(COUNT_FIELD.encode(), 0)))
        if found.epoch == self._last_epoch:
            if count < self._last_count + has_counted:
                return None, True
            self._last_count = count
        epoch = found.epoch.encode()
        names = {name.decode() for name, reported in fields.items() if reported == epoch}
        self.reported = frozenset(name.removeprefix(AWAITED) for name in names)
        return found, False

    async def _read(self) -> tuple[bytes, RecoveryFacts]:
        """The state as stored, empty if there is none; and what the server says."""
        replies = await self._client.try_many(
            [
                *_ASK_SERVER,
                ("TIME",),
                ("HGETALL", self._keys.recovery),
                ("HVALS", self._keys.workers),
                ("PUBSUB NUMSUB", self._keys.wake),
            ]
        )
        info, replication, redis_time, fields, heartbeats, subscribers = replies
        for reply in (info, replication, redis_time, fields, heartbeats):
            if isinstance(reply, RedisError):
                raise reply
        epochs = {name.decode(): value.decode() for name, value in fields.items()}
        text = epochs.pop(STATE_FIELD, "").encode()
        epochs.pop(COUNT_FIELD, None)
        state = _decode(text)
        awaited = {
            name.removeprefix(AWAITED)
            for name, epoch in epochs.items()
            if name.startswith(AWAITED) and state is not None and epoch == state.epoch
        }
        return text, RecoveryFacts(
            server=_identity(info, replication),
            now=unix_time(redis_time),
            subscribers=_count(subscribers),
            expected=frozenset(awaited).union(last_alive(decode_heartbeats(heartbeats))),
            reports={name: at for name, at in epochs.items() if not name.startswith(AWAITED)},
        )


def last_alive(heartbeats: Collection[Heartbeat]) -> list[str]:
    """The workers that were alive when the newest heartbeat was written."""
    newest = max((beat.seen_at for beat in heartbeats), default=0.0)
    return [beat.id for beat in heartbeats if beat.seen_at >= newest - ALIVE_WITHIN_S]


def _identity(info: Mapping[str, object], replication: Mapping[str, object]) -> str:
    return f"{info['run_id']}{replication['master_replid']}"


def _count(reply: Any) -> int:
    """The number of subscribers; 0 where the user may not ask."""
    return 0 if isinstance(reply, RedisError) else int(reply[0][1])


def _encode(state: RecoveryState) -> bytes:
    word = "ready" if state.is_ready else "recovering"
    return f"{word} {state.epoch} {state.server} {state.since:.3f} {state.origin}".encode()


def _decode(text: bytes) -> RecoveryState | None:
    """A stored state; None if there is none, or none that can be read."""
    try:
        word, epoch, server, since, origin = text.decode().split()
        return RecoveryState(epoch, server, word == "ready", float(since), DataOrigin(origin))
    except ValueError:
        return None
