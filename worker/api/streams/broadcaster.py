"""The feed of transitions: one reader of the stream a process, fanned out to all who listen.

Whoever listens has a queue of bounded length. One that does not keep up is told to start over and
let go; what it missed is no loss, for the lists tell how everything stands. What the reader did not
see because Redis was away, it reads afterwards; what was trimmed away meanwhile, everybody is told.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

import structlog
from redis.exceptions import RedisError

from jobs.lanes import Lane
from jobs.states import Kind, State
from worker.api.models.events import transition_response
from worker.api.models.response import encode_response
from worker.store.events import START, EventEntry, EventLog, StreamExtent, entry_id_parts

log: Final = structlog.get_logger(__name__)

MAX_LISTENERS: Final = 200
MAX_QUEUED_BATCHES: Final = 512
"""Entries that wait for one listener, each of one or more transitions; all share them."""

READ_BATCH_SIZE: Final = 500
"""Entries read at a time."""

READ_BLOCK_MS: Final = 2_000
"""How long one look into the stream may take; less than the connection's own patience."""

KEEPALIVE_S: Final = 15.0
"""When it was silent for so long, a listener is told that there is nothing; what stands in between
cuts connections that are silent for longer."""

READY_TIMEOUT_S: Final = 2.0
RETRY_DELAY_S: Final = 0.5


class TooManyListeners(Exception):
    """So many listen already."""


class StreamUnavailable(Exception):
    """The stream cannot be read just now."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which transitions a listener wants; a state counts where a job comes or goes."""

    state: State | None = None
    kind: Kind | None = None
    target: str | None = None
    account: str | None = None

    def matches(self, event: "BroadcastEvent") -> bool:
        """Whether a transition is wanted."""
        lane = event.lane
        return (
            (self.state is None or self.state in (event.before, event.after))
            and self.kind in (None, lane.kind)
            and self.target in (None, lane.target)
            and self.account in (None, lane.account)
        )


@dataclass(frozen=True, slots=True)
class BroadcastEvent:
    """A transition, ready to be sent."""

    lane: Lane
    before: State | None
    after: State
    data: bytes


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Transitions that were written in one step; none where there was no news for a while."""

    id: str
    events: tuple[BroadcastEvent, ...]


@dataclass(frozen=True, slots=True)
class StreamReset:
    """Something is missing between this and what came before: read the lists again."""

    id: str


@dataclass(frozen=True, slots=True, eq=False)
class EventListener:
    """One who listens. The queue ends with None."""

    queue: "asyncio.Queue[EventBatch | StreamReset | None]" = field(
        default_factory=lambda: asyncio.Queue(MAX_QUEUED_BATCHES + 2)
    )

    def enqueue(self, item: EventBatch | StreamReset) -> bool:
        """Put it into the queue; False where there is no room any more."""
        if self.queue.qsize() >= MAX_QUEUED_BATCHES:
            return False
        self.queue.put_nowait(item)
        return True

    def close(self, last_item: StreamReset | None) -> None:
        """Drop what waits, and end."""
        while not self.queue.empty():
            self.queue.get_nowait()
        if last_item is not None:
            self.queue.put_nowait(last_item)
        self.queue.put_nowait(None)


class EventBroadcaster:
    """Reads the stream for as long as somebody listens."""

    def __init__(self, events: EventLog) -> None:
        self._event_log = events
        self._listeners: set[EventListener] = set()
        self._joining_count = 0
        self._listener_joined = asyncio.Event()
        self._reader_started = asyncio.Event()
        self._last_read_id = START
        """The last entry that the reader passed on."""
        self._is_closed = False

    @property
    def listener_count(self) -> int:
        """How many listen, or are about to."""
        return len(self._listeners) + self._joining_count

    @contextlib.asynccontextmanager
    async def subscribe(
        self, after_id: str | None
    ) -> "AsyncGenerator[AsyncGenerator[EventBatch | StreamReset]]":
        """What comes after an entry (None: from now on), until it is over.

        Raises `TooMany` and `NotReady`; what it yields raises what Redis raises.
        """
        if self.listener_count >= MAX_LISTENERS:
            raise TooManyListeners
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
            raise StreamUnavailable from None
        finally:
            self._joining_count -= 1
        if self._is_closed:
            raise StreamUnavailable

    async def _batches_for(
        self, listener: EventListener, joined_at_id: str, after_id: str | None
    ) -> "AsyncGenerator[EventBatch | StreamReset]":
        """First what was written up to the joining, then what the reader brings."""
        if after_id is None:
            yield EventBatch(joined_at_id, ())
        else:
            async for news in self._backlog(after_id, joined_at_id):
                yield news
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    found = await listener.queue.get()
            except TimeoutError:
                yield EventBatch(self._last_read_id, ())
                continue
            if found is None:
                return
            yield found

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
                yield _batch_of(entry)
            if not entries:
                return

    # The reader.

    async def run(self) -> None:
        """Pass on what is written, for ever."""
        while True:
            await self._listener_joined.wait()
            try:
                await self._read_while_subscribed()
            except (RedisError, OSError) as error:
                log.warning("event_stream.interrupted", error=type(error).__name__)
                await asyncio.sleep(RETRY_DELAY_S)

    async def _read_while_subscribed(self) -> None:
        """Read until nobody listens any more; after a break it goes on where it was."""
        extent = await self._event_log.extent()
        if not self._reader_started.is_set():
            self._last_read_id = extent.last
            self._reader_started.set()
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
            self._broadcast(_batch_of(entry))
        return bool(entries)

    def _announce_gap(self, extent: StreamExtent) -> None:
        """Tell everybody where the stream no longer has what comes next; it goes on with the rest.

        Where nothing had been written yet, nothing can be gone.
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
        """Let everybody go."""
        self._is_closed = True
        for listener in list(self._listeners):
            listener.close(None)


def _id_before(entry_id: str) -> str:
    """An id just before one, that no entry has."""
    milliseconds, _, number = entry_id.partition("-")
    if int(number or 0) > 0:
        return f"{milliseconds}-{int(number) - 1}"
    return f"{int(milliseconds) - 1}-{2**64 - 1}"


def _batch_of(entry: EventEntry) -> EventBatch:
    events: list[BroadcastEvent] = []
    for transition in entry.transitions:
        try:
            lane = Lane.parse(transition.lane)
        except ValueError:
            continue
        data = encode_response(transition_response(transition, lane))
        events.append(BroadcastEvent(lane, transition.before, transition.after, data))
    return EventBatch(entry.id, tuple(events))
