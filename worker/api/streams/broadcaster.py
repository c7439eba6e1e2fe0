"""The stream of events: one reader per process, whose entries all listeners share.

Each listener has a queue of bounded length. A listener that does not keep up gets a reset and is
disconnected; it then reads the lists again. After an interruption of Redis the reader goes on where
it was; where entries were trimmed meanwhile, every listener gets a reset.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

import structlog
from redis.exceptions import RedisError

from worker.api.streams.broadcast_items import BroadcastItem, notice_item, transition_item
from worker.api.streams.stream_slots import StreamSlots
from worker.store.events import (
    START,
    EventEntry,
    EventLog,
    StreamExtent,
    entry_id_parts,
)
from worker.store.payloads import PayloadStore
from worker.store.refusals import error_word

log: Final = structlog.get_logger(__name__)

MAX_QUEUED_BATCHES: Final = 512
"""Entries in the queue of one listener, each of one or more transitions."""

READ_BATCH_SIZE: Final = 500
"""Entries per read."""

READ_BLOCK_MS: Final = 2_000
"""How long a read of the stream may block; less than the socket timeout of the connection."""

KEEPALIVE_S: Final = 15.0
"""A listener without an event for so long gets an empty batch: proxies close silent connections."""

READY_TIMEOUT_S: Final = 2.0
RETRY_DELAY_S: Final = 0.5


class StreamUnavailable(Exception):
    """The stream cannot be read now."""


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Transitions written in one step, or a notice; empty as a keep-alive."""

    id: str
    events: tuple[BroadcastItem, ...]


@dataclass(frozen=True, slots=True)
class StreamReset:
    """Transitions are missing before this entry: read the lists again."""

    id: str


@dataclass(frozen=True, slots=True, eq=False)
class EventListener:
    """The queue of one listener; it ends with None."""

    queue: "asyncio.Queue[EventBatch | StreamReset | None]" = field(
        default_factory=lambda: asyncio.Queue(MAX_QUEUED_BATCHES + 2)
    )

    def enqueue(self, item: EventBatch | StreamReset) -> bool:
        """Put an item into the queue; False where it is full."""
        if self.queue.qsize() >= MAX_QUEUED_BATCHES:
            return False
        self.queue.put_nowait(item)
        return True

    def close(self, last_item: StreamReset | None) -> None:
        """Drop the queue, put `last_item`, and end."""
        while not self.queue.empty():
            self.queue.get_nowait()
        if last_item is not None:
            self.queue.put_nowait(last_item)
        self.queue.put_nowait(None)


class EventBroadcaster:
    """Reads the stream while there are listeners."""

    def __init__(self, events: EventLog, payloads: PayloadStore) -> None:
        self.slots = StreamSlots.for_events()
        self._event_log = events
        self._payloads = payloads
        self._listeners: set[EventListener] = set()
        self._joining_count = 0
        self._listener_joined = asyncio.Event()
        self._reader_started = asyncio.Event()
        self._last_read_id = START
        """The last entry that was broadcast."""
        self._is_closed = False
        self._failure: Exception | None = None
        """Why the last read failed; None if it did not."""

    @property
    def listener_count(self) -> int:
        """Listeners, and those that are about to be one."""
        return len(self._listeners) + self._joining_count

    @contextlib.asynccontextmanager
    async def subscribe(
        self, after_id: str | None
    ) -> "AsyncGenerator[AsyncGenerator[EventBatch | StreamReset]]":
        """Yield the entries after `after_id` (None: from now on), as an endless iterator.

        Raises `StreamUnavailable`; the iterator raises what Redis raises.
        """
        await self._wait_for_reader()
        listener, joined_at = EventListener(), self._last_read_id
        self._listeners.add(listener)
        try:
            yield self._batches_for(listener, joined_at, after_id)
        finally:
            self._listeners.discard(listener)

    async def _wait_for_reader(self) -> None:
        self._joining_count += 1
        self._listener_joined.set()
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._reader_started.wait()
        except TimeoutError:
            raise StreamUnavailable from self._failure
        finally:
            self._joining_count -= 1
        if self._is_closed:
            raise StreamUnavailable

    async def _batches_for(
        self, listener: EventListener, joined_at_id: str, after_id: str | None
    ) -> "AsyncGenerator[EventBatch | StreamReset]":
        """First what was written up to `joined_at_id`, then what the reader broadcasts."""
        if after_id is None:
            yield EventBatch(joined_at_id, ())
        else:
            async for missed in self._backlog(after_id, joined_at_id):
                yield missed
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    item = await listener.queue.get()
            except TimeoutError:
                yield EventBatch(self._last_read_id, ())
                continue
            if item is None:
                return
            yield item

    async def _backlog(
        self, after_id: str, until_id: str
    ) -> "AsyncGenerator[EventBatch | StreamReset]":
        extent = await self._event_log.extent()
        if not extent.has_all_after(after_id):
            after_id = START
            yield StreamReset(extent.first)
        while entry_id_parts(after_id) < entry_id_parts(until_id):
            entries = await self._event_log.after(after_id, READ_BATCH_SIZE)
            for entry in entries:
                if entry_id_parts(entry.id) > entry_id_parts(until_id):
                    return
                after_id = entry.id
                yield await self._batch_of(entry)
            if not entries:
                return

    # The reader.

    async def run(self) -> None:
        """Broadcast what is written, for ever."""
        while True:
            await self._listener_joined.wait()
            try:
                await self._read_while_subscribed()
            except (RedisError, OSError) as error:
                self._failure = error
                log.warning("event_stream.interrupted", error=error_word(error))
                await asyncio.sleep(RETRY_DELAY_S)

    async def _read_while_subscribed(self) -> None:
        """Read until nobody listens; after an interruption, go on after the last entry."""
        extent = await self._event_log.extent()
        if not self._reader_started.is_set():
            self._last_read_id = extent.last
            self._reader_started.set()
        self._failure = None
        while self.listener_count:
            self._announce_gap(extent)
            while self.listener_count and await self._read_batch():
                pass
            extent = await self._event_log.extent()
        self._reader_started.clear()
        self._listener_joined.clear()

    async def _read_batch(self) -> bool:
        entries = await self._event_log.after(self._last_read_id, READ_BATCH_SIZE, READ_BLOCK_MS)
        for entry in entries:
            self._last_read_id = entry.id
            self._broadcast(await self._batch_of(entry))
        return bool(entries)

    async def _batch_of(self, entry: EventEntry) -> EventBatch:
        """What listeners get of an entry, with the metadata of the jobs that ended in it."""
        ended = [one.id for one in entry.transitions if one.has_metadata]
        metadata = await self._payloads.metadata(ended)
        notices: list[BroadcastItem] = [notice_item(notice) for notice in entry.notices]
        found = [transition_item(one, metadata.get(one.id)) for one in entry.transitions]
        return EventBatch(entry.id, (*notices, *(one for one in found if one is not None)))

    def _announce_gap(self, extent: StreamExtent) -> None:
        """Broadcast a reset where the next entries were trimmed, and go on with the rest.

        Where nothing had been written yet, nothing can be missing.
        """
        if self._last_read_id == START or extent.has_all_after(self._last_read_id):
            return
        self._last_read_id = START if extent.last == START else _id_before(extent.first)
        self._broadcast(StreamReset(extent.first))

    def _broadcast(self, item: EventBatch | StreamReset) -> None:
        for listener in list(self._listeners):
            if not listener.enqueue(item):
                log.info("event_listener.dropped", waiting=MAX_QUEUED_BATCHES)
                listener.close(StreamReset(item.id))
                self._listeners.discard(listener)

    def close(self) -> None:
        """Disconnect every listener."""
        self._is_closed = True
        for listener in list(self._listeners):
            listener.close(None)


def _id_before(entry_id: str) -> str:
    """The id just before `entry_id`."""
    milliseconds, _, number = entry_id.partition("-")
    if int(number or 0) > 0:
        return f"{milliseconds}-{int(number) - 1}"
    return f"{int(milliseconds) - 1}-{2**64 - 1}"
