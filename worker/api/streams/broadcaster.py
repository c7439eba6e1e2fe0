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

import msgspec
import structlog
from redis.exceptions import RedisError

from jobs.lanes import Lane
from jobs.states import Kind, State
from worker.api.models.views import moment
from worker.store.commit import Transition
from worker.store.events import START, Entry, EventLog, Extent, order

log: Final = structlog.get_logger(__name__)

LISTENERS_MOST: Final = 200
QUEUE_MOST: Final = 512
"""Entries that wait for one listener, each of one or more transitions; all share them."""

CHUNK: Final = 500
"""Entries read at a time."""

BLOCK_MS: Final = 2_000
"""How long one look into the stream may take; less than the connection's own patience."""

HEARTBEAT_S: Final = 15.0
"""When it was silent for so long, a listener is told that there is nothing; what stands in between
cuts connections that are silent for longer."""

READY_S: Final = 2.0
AGAIN_S: Final = 0.5

_encoder: Final = msgspec.json.Encoder()


class TooMany(Exception):
    """So many listen already."""


class NotReady(Exception):
    """The stream cannot be read just now."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which transitions a listener wants; a state counts where a job comes or goes."""

    state: State | None = None
    kind: Kind | None = None
    target: str | None = None
    account: str | None = None

    def admits(self, told: "Told") -> bool:
        """Whether a transition is wanted."""
        lane = told.lane
        return (
            (self.state is None or self.state in (told.before, told.after))
            and self.kind in (None, lane.kind)
            and self.target in (None, lane.target)
            and self.account in (None, lane.account)
        )


@dataclass(frozen=True, slots=True)
class Told:
    """A transition, ready to be sent."""

    lane: Lane
    before: State | None
    after: State
    data: bytes


@dataclass(frozen=True, slots=True)
class News:
    """Transitions that were written in one step; none where there was no news for a while."""

    id: str
    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Reset:
    """Something is missing between this and what came before: read the lists again."""

    id: str


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """One who listens. The queue ends with None."""

    queue: "asyncio.Queue[News | Reset | None]" = field(
        default_factory=lambda: asyncio.Queue(QUEUE_MOST + 2)
    )

    def tell(self, what: News | Reset) -> bool:
        """Put it into the queue; False where there is no room any more."""
        if self.queue.qsize() >= QUEUE_MOST:
            return False
        self.queue.put_nowait(what)
        return True

    def let_go(self, last: Reset | None) -> None:
        """Drop what waits, and end."""
        while not self.queue.empty():
            self.queue.get_nowait()
        if last is not None:
            self.queue.put_nowait(last)
        self.queue.put_nowait(None)


class Feed:
    """Reads the stream for as long as somebody listens."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._listeners: set[Listener] = set()
        self._joining = 0
        self._wanted = asyncio.Event()
        self._reading = asyncio.Event()
        self._at = START
        """The last entry that the reader passed on."""
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen, or are about to."""
        return len(self._listeners) + self._joining

    @contextlib.asynccontextmanager
    async def join(self, after: str | None) -> "AsyncGenerator[AsyncGenerator[News | Reset]]":
        """What comes after an entry (None: from now on), until it is over.

        Raises `TooMany` and `NotReady`; what it yields raises what Redis raises.
        """
        if self.listeners >= LISTENERS_MOST:
            raise TooMany
        await self._ready()
        listener, joined_at = Listener(), self._at
        self._listeners.add(listener)
        try:
            yield self._told(listener, joined_at, after)
        finally:
            self._listeners.discard(listener)

    async def _ready(self) -> None:
        self._joining += 1
        self._wanted.set()
        try:
            async with asyncio.timeout(READY_S):
                await self._reading.wait()
        except TimeoutError:
            raise NotReady from None
        finally:
            self._joining -= 1
        if self._closed:
            raise NotReady

    async def _told(
        self, listener: Listener, joined_at: str, after: str | None
    ) -> "AsyncGenerator[News | Reset]":
        """First what was written up to the joining, then what the reader brings."""
        if after is None:
            yield News(joined_at, ())
        else:
            async for news in self._backlog(after, joined_at):
                yield news
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    found = await listener.queue.get()
            except TimeoutError:
                yield News(self._at, ())
                continue
            if found is None:
                return
            yield found

    async def _backlog(self, after: str, until: str) -> "AsyncGenerator[News | Reset]":
        extent = await self._events.extent()
        if not extent.has_all_after(after):
            after = START
            yield Reset(extent.first)
        while order(after) < order(until):
            entries = await self._events.after(after, CHUNK)
            for entry in entries:
                if order(entry.id) > order(until):
                    return
                after = entry.id
                yield _news(entry)
            if not entries:
                return

    # The reader.

    async def read(self) -> None:
        """Pass on what is written, for ever."""
        while True:
            await self._wanted.wait()
            try:
                await self._read()
            except (RedisError, OSError) as error:
                log.warning("feed.interrupted", error=type(error).__name__)
                await asyncio.sleep(AGAIN_S)

    async def _read(self) -> None:
        """Read until nobody listens any more; after a break it goes on where it was."""
        extent = await self._events.extent()
        if not self._reading.is_set():
            self._at = extent.last
            self._reading.set()
        while self.listeners:
            self._catch_up(extent)
            while self.listeners and await self._read_some():
                pass
            extent = await self._events.extent()
        self._reading.clear()
        self._wanted.clear()

    async def _read_some(self) -> bool:
        entries = await self._events.after(self._at, CHUNK, BLOCK_MS)
        for entry in entries:
            self._at = entry.id
            self._pass_on(_news(entry))
        return bool(entries)

    def _catch_up(self, extent: Extent) -> None:
        """Tell everybody where the stream no longer has what comes next; it goes on with the rest.

        Where nothing had been written yet, nothing can be gone.
        """
        if self._at == START or extent.has_all_after(self._at):
            return
        self._at = START if extent.last == START else _before(extent.first)
        self._pass_on(Reset(extent.first))

    def _pass_on(self, news: News | Reset) -> None:
        for listener in list(self._listeners):
            if not listener.tell(news):
                log.info("listener.dropped", waiting=QUEUE_MOST)
                listener.let_go(Reset(news.id))
                self._listeners.discard(listener)

    def close(self) -> None:
        """Let everybody go."""
        self._closed = True
        for listener in list(self._listeners):
            listener.let_go(None)


def _before(entry_id: str) -> str:
    """An id just before one, that no entry has."""
    milliseconds, _, number = entry_id.partition("-")
    if int(number or 0) > 0:
        return f"{milliseconds}-{int(number) - 1}"
    return f"{int(milliseconds) - 1}-{2**64 - 1}"


def _news(entry: Entry) -> News:
    told: list[Told] = []
    for transition in entry.transitions:
        try:
            lane = Lane.parse(transition.lane)
        except ValueError:
            continue
        told.append(Told(lane, transition.before, transition.after, _data(transition, lane)))
    return News(entry.id, tuple(told))


def _data(transition: Transition, lane: Lane) -> bytes:
    return _encoder.encode(
        {
            "id": transition.id,
            "kind": lane.kind,
            "target": lane.target,
            "account": lane.account,
            "from": transition.before,
            "to": transition.after,
            "at": moment(transition.at),
            "code": transition.code,
        }
    )
