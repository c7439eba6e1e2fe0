"""Callbacks in Redis: claimed under leases, settled by compare-and-set, kept for review.

Each callback is one string; its id is in the set of its state, in the set of its subject, and while
it is pending in the queue of its host. `jobs.callbacks` says what becomes of one.
"""

import base64
import hashlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from jobs.callback_breaker import CallbackBreaker
from jobs.callbacks import Callback, CallbackState, CallbackSubject
from worker.store.callback_filter import CallbackFilter, matches
from worker.store.callback_outbox import KEPT_MS, WAKE_MESSAGE, CallbackOutbox
from worker.store.client import Argument, BadCursor, Client, Command, pairs, texts
from worker.store.codec import DECODE_ERRORS, decode_cursor, encode
from worker.store.commit import Change
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import Scripts

MAX_SCANNED: Final = 2_000
"""Callbacks that one page reads at most; then it returns what it has, and a cursor."""

_CHUNK: Final = 100

_callback: Final = RecordSchema(Callback, UNCHANGED)
_breaker: Final = RecordSchema(CallbackBreaker, UNCHANGED)


class StoredCallback(NamedTuple):
    """A callback, and the text that a write must still find."""

    callback: Callback
    data: bytes

    def __repr__(self) -> str:
        """The callback without its record, which holds texts of others."""
        return f"StoredCallback({self.callback.id!r})"


class HostClaim(NamedTuple):
    """What was claimed of a host."""

    ids: list[str]
    breaker: CallbackBreaker | None
    """None: it is closed."""
    breaker_data: bytes
    """Its record as stored."""


class CallbackPage(NamedTuple):
    """Callbacks, newest first; it may be short and still have a next one."""

    items: list[Callback]
    next_cursor: str | None


class CallbackCounts(NamedTuple):
    """How many callbacks there are, and how much room is left."""

    by_state: dict[CallbackState, int]
    oldest_pending_at: float | None
    """Since when the oldest is tried, Unix seconds."""
    open_hosts: int
    """Hosts whose breaker is open."""
    used_bytes: int


class CallbackUse(NamedTuple):
    """Where callbacks and their ids do not fit together."""

    unindexed: list[str]
    """Pending ones that are in no queue, or whose host is not looked at."""
    without_record: list[str]
    """Ids in a set of a state whose callback is gone."""


class CallbackStore:
    """The callbacks of one namespace."""

    def __init__(
        self, client: Client, keys: Keys, scripts: Scripts, outbox: CallbackOutbox
    ) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self.outbox = outbox

    # Sending.

    async def due_hosts(self, now: float, limit: int) -> tuple[list[str], float | None]:
        """Hosts to look at now, and when the next one is due (Unix seconds); None without one."""
        key, one = self._keys.callback_hosts, ("WITHSCORES", "LIMIT", 0, 1)
        due, first = await self._client.many(
            [
                ("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, limit),
                ("ZRANGEBYSCORE", key, f"({now}", "+inf", *one),
            ]
        )
        return texts(due), (pairs(first)[0][1] if first else None)

    async def claim(self, host: str, now: float, lease_until: float, limit: int) -> HostClaim:
        """Claim due callbacks of a host; they are due again when the lease ends."""
        keys = (
            self._keys.callback_hosts,
            self._keys.callback_queue(host),
            self._keys.callback_breakers,
        )
        stored, *ids = await self._scripts.claim_callbacks(keys, (host, now, lease_until, limit))
        return HostClaim(texts(ids), _decode(_breaker, stored), stored)

    async def read(self, ids: Sequence[str]) -> list[StoredCallback | None]:
        """Callbacks in the order of their ids; None for one that is gone or cannot be read."""
        rows = await self._client.many([("GET", self._keys.callback(one)) for one in ids])
        return [
            None
            if data is None or (found := _decode(_callback, data)) is None
            else StoredCallback(found, data)
            for data in rows
        ]

    async def find(self, callback_id: str) -> StoredCallback | None:
        """One callback; None if there is none."""
        return (await self.read([callback_id]))[0]

    async def missing(self, ids: Sequence[str]) -> set[str]:
        """Those ids that no callback has; one that cannot be read is not missing."""
        found = await self._client.many([("EXISTS", self._keys.callback(one)) for one in ids])
        return {one for one, exists in zip(ids, found, strict=True) if not exists}

    async def drop_claim(self, host: str, callback_id: str) -> None:
        """Take an id out of a queue that no callback belongs to."""
        await self._client.many(
            [
                ("ZREM", self._keys.callback_queue(host), callback_id),
                ("ZREM", self._keys.callbacks(CallbackState.PENDING), callback_id),
            ]
        )

    async def amend(self, stored: StoredCallback, new: Callback) -> bool:
        """Write the next version of a callback; False if another one was written meanwhile."""
        old, keys = stored.callback, [self._keys.callback(new.id), self._keys.callback_use]
        args: list[Argument] = [_digest(stored.data), encode(new), KEPT_MS]
        self._move(old, new, keys, args)
        return await self._scripts.amend(keys, args)

    async def delete(self, stored: StoredCallback) -> bool:
        """Delete a callback; False if another version was written meanwhile."""
        old = stored.callback
        keys = [self._keys.callback(old.id), self._keys.callback_use]
        args: list[Argument] = [_digest(stored.data), "", 0]
        self._move(old, None, keys, args)
        keys.append(self._keys.callbacks_of(old.subject, old.subject_id))
        args += ["R", len(keys), 0, old.id]
        return await self._scripts.amend(keys, args)

    def _move(
        self, old: Callback, new: Callback | None, keys: list[str], args: list[Argument]
    ) -> None:
        """The operations of `amend.lua` that follow from the state and the next try."""

        def add(letter: str, key: str, score: float, member: str = old.id) -> None:
            keys.append(key)
            args.extend((letter, len(keys), score, member))

        if new is None or new.state is not old.state:
            add("R", self._keys.callbacks(old.state), 0)
        if new is None or new.next_at is None:
            add("R", self._keys.callback_queue(old.host), 0)
        if new is None:
            return
        add("A", self._keys.callbacks(new.state), new.since)
        if new.next_at is not None:
            add("A", self._keys.callback_queue(new.host), new.next_at)
            add("L", self._keys.callback_hosts, new.next_at, new.host)

    async def make_host_due(self, host: str, at: float) -> None:
        """Make a host due, at the latest at a time."""
        await self._client.call("ZADD", self._keys.callback_hosts, "LT", at, host)

    async def add(self, callback: Callback) -> None:
        """Put a callback into the outbox, unless it is there; where that is full, it is lost."""
        if not await self.missing([callback.id]):
            return
        change = Change(self._keys, "", "")
        change.ops += self.outbox.room_for(callback)
        await self._scripts.commit(change)

    async def announce(self) -> None:
        """Wake the workers; never raises what Redis raises."""
        await self._scripts.announcements.send(("PUBLISH", self._keys.wake, WAKE_MESSAGE))

    # Breakers of hosts.

    async def set_breaker(self, host: str, before: bytes, breaker: CallbackBreaker | None) -> bool:
        """Replace the breaker of a host (None: close it) if its record still is `before`."""
        after = b"" if breaker is None else encode(breaker)
        return await self._scripts.swap(self._keys.callback_breakers, host, before, after)

    async def breakers(self) -> dict[str, CallbackBreaker]:
        """The open breakers by host."""
        rows: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.callback_breakers)
        found = {name.decode(): _decode(_breaker, data) for name, data in rows.items()}
        return {host: breaker for host, breaker in found.items() if breaker is not None}

    # Lists.

    async def page(
        self, wanted: CallbackFilter, limit: int, cursor: str | None = None
    ) -> CallbackPage:
        """A page of callbacks, newest first in their state; raises `BadCursor`."""
        before = None if cursor is None else _position(cursor)
        if wanted.subject_id:
            return await self._page_of_subject(wanted, limit)
        states = [wanted.state] if wanted.state else list(CallbackState)
        found: list[Callback] = []
        scanned = 0
        while scanned < MAX_SCANNED:
            rows = await self._newest(states, before)
            for score, callback_id, stored in rows:
                before = (score, callback_id)
                scanned += 1
                if stored is not None and matches(stored.callback, wanted):
                    found.append(stored.callback)
                if len(found) == limit:
                    return CallbackPage(found, _cursor(*before))
            if len(rows) < _CHUNK:
                return CallbackPage(found, None)
        return CallbackPage(found, _cursor(*before) if before else None)

    async def _newest(
        self, states: Sequence[CallbackState], before: tuple[float, str] | None
    ) -> list[tuple[float, str, StoredCallback | None]]:
        """The next callbacks of several states behind a position, by time and id."""
        highest = "+inf" if before is None else repr(before[0])
        some = ("WITHSCORES", "LIMIT", 0, 2 * _CHUNK)
        replies = await self._client.many(
            [
                ("ZREVRANGEBYSCORE", self._keys.callbacks(state), highest, "-inf", *some)
                for state in states
            ]
        )
        rows = sorted(
            ((score, name) for reply in replies for name, score in pairs(reply)), reverse=True
        )
        left = [row for row in rows if before is None or row < before][:_CHUNK]
        stored = await self.read([name for _, name in left])
        return [(score, name, one) for (score, name), one in zip(left, stored, strict=True)]

    async def _page_of_subject(self, wanted: CallbackFilter, limit: int) -> CallbackPage:
        found = await self.of_subject(wanted.subject, wanted.subject_id, limit=_CHUNK)
        matching = [one for one in found if matches(one, wanted)]
        return CallbackPage(matching[:limit], None)

    async def of_subject(
        self, subject: CallbackSubject, subject_id: str, limit: int = _CHUNK
    ) -> list[Callback]:
        """The newest callbacks of a subject, the latest event first."""
        stored = await self._stored_of(subject, subject_id, limit)
        return [one.callback for one in stored]

    async def _stored_of(
        self, subject: CallbackSubject, subject_id: str, limit: int
    ) -> list[StoredCallback]:
        key = self._keys.callbacks_of(subject, subject_id)
        ids = texts(await self._client.call("ZREVRANGE", key, 0, limit - 1))
        return [one for one in await self.read(ids) if one is not None]

    async def stored_of_jobs(self, job_ids: Sequence[str]) -> list[StoredCallback]:
        """Every callback of some jobs."""
        keys = [self._keys.callbacks_of(CallbackSubject.JOB, job_id) for job_id in job_ids]
        members = await self._client.many([("ZRANGE", key, 0, -1) for key in keys])
        ids = [name for found in members for name in texts(found)]
        return [one for one in await self.read(ids) if one is not None]

    async def counts(self) -> CallbackCounts:
        """How many there are: one round trip."""
        pending = self._keys.callbacks(CallbackState.PENDING)
        commands: list[Command] = [("ZCARD", self._keys.callbacks(one)) for one in CallbackState]
        commands.append(("ZRANGE", pending, 0, 0, "WITHSCORES"))
        commands.append(("HLEN", self._keys.callback_breakers))
        commands.append(("HGET", self._keys.callback_use, "bytes"))
        *sizes, oldest, hosts, used = await self._client.many(commands)
        return CallbackCounts(
            dict(zip(CallbackState, map(int, sizes), strict=True)),
            pairs(oldest)[0][1] if oldest else None,
            int(hosts),
            int(used or 0),
        )

    async def read_use(self) -> int:
        """Read how many bytes all callbacks take; the outbox goes by that."""
        found = await self._client.call("HGET", self._keys.callback_use, "bytes")
        self.outbox.used_bytes = int(found or 0)
        return self.outbox.used_bytes

    async def compare_indexes(self) -> CallbackUse:
        """Compare every callback with the sets that it belongs to; what stays wrong when reread."""
        found = await self._compare()
        if found != CallbackUse([], []):
            again = await self._compare()
            found = CallbackUse(
                *(sorted(set(a) & set(b)) for a, b in zip(found, again, strict=True))
            )
        return found

    async def _compare(self) -> CallbackUse:
        hosts = set(texts(await self._client.call("ZRANGE", self._keys.callback_hosts, 0, -1)))
        unindexed: list[str] = []
        without_record: list[str] = []
        for state in CallbackState:
            async for ids in self._ids(state):
                stored = await self.read(ids)
                unread = [i for i, one in zip(ids, stored, strict=True) if one is None]
                without_record += await self.missing(unread)
                if state is not CallbackState.PENDING:
                    continue
                pending = [one.callback for one in stored if one is not None]
                scores = await self._client.many(
                    [("ZSCORE", self._keys.callback_queue(one.host), one.id) for one in pending]
                )
                unindexed += [
                    one.id
                    for one, score in zip(pending, scores, strict=True)
                    if one.state is state and (score is None or one.host not in hosts)
                ]
        return CallbackUse(unindexed, without_record)

    async def _ids(self, state: CallbackState) -> AsyncGenerator[list[str]]:
        key, first = self._keys.callbacks(state), 0
        while ids := texts(await self._client.call("ZRANGE", key, first, first + _CHUNK - 1)):
            yield ids
            first += _CHUNK

    # Retention.

    async def older_than(
        self, state: CallbackState, moment: float, limit: int
    ) -> list[StoredCallback]:
        """Callbacks that entered a state before a moment, oldest first; drops ids without one."""
        key = self._keys.callbacks(state)
        ids = texts(
            await self._client.call("ZRANGEBYSCORE", key, "-inf", moment, "LIMIT", 0, limit)
        )
        stored = await self.read(ids)
        unread = [name for name, one in zip(ids, stored, strict=True) if one is None]
        if gone := await self.missing(unread):
            await self._client.call("ZREM", key, *gone)
        return [one for one in stored if one is not None]


def _decode(schema: RecordSchema[Any], data: bytes) -> Any:
    try:
        return schema.decode(data) if data else None
    except (NewerSchema, *DECODE_ERRORS):
        return None


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _cursor(score: float, member: str) -> str:
    data = encode(("callbacks", score, member))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _position(cursor: str) -> tuple[float, str]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        index, score, member = decode_cursor(base64.urlsafe_b64decode(padded))
    except (*DECODE_ERRORS, msgspec.MsgspecError):
        raise BadCursor from None
    if index != "callbacks":
        raise BadCursor
    return score, member
