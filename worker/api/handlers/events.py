"""`GET /v1/events`: every transition as it happens, as server-sent events (WHATWG HTML, 9.2).

Of one entry of the stream the last event alone carries an id. So a client that broke off in the
middle gets the whole entry once more, and loses nothing.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Final

from aiohttp import web
from redis.exceptions import RedisError

from worker.api.context import office_of
from worker.api.models.requests import ENTRY_ID, EventsQuery
from worker.api.parsing import read_query
from worker.api.problems import RETRY_AFTER_S, Problem, bad_parameter
from worker.api.streams.broadcaster import HEARTBEAT_S, Feed, News, NotReady, Reset, TooMany, Wish

CONTENT_TYPE: Final = "text/event-stream"
LAST_EVENT_ID: Final = "Last-Event-ID"

LASTS_S: Final = 3_600.0
"""A stream ends after so long, and the client comes again: it is asked anew who it is."""

WRITE_S: Final = 20.0
"""How long a client may take to take in what is written."""

RECONNECT_MS: Final = 2_000

_ENTRY_ID: Final = re.compile(ENTRY_ID)


async def events(request: web.Request) -> web.StreamResponse:
    """Every transition as it happens, as server-sent events.

    Event `job`: a transition. Event `reset`: some are missing before this, read the lists again.
    """
    query = read_query(request, EventsQuery)
    after = _last_event_id(request) or query.last_event_id
    wish = Wish(query.state, query.kind, query.target, query.account)
    response = web.StreamResponse(
        headers={"Content-Type": CONTENT_TYPE, "X-Accel-Buffering": "no"},
    )
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    async with _joined(office_of(request).feed, after) as told:
        await response.prepare(request)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with contextlib.aclosing(told):
                await _send_all(response, told, wish)
    return response


def _last_event_id(request: web.Request) -> str | None:
    given = request.headers.get(LAST_EVENT_ID)
    if given and not _ENTRY_ID.fullmatch(given):
        raise bad_parameter(LAST_EVENT_ID, "is not an id of an event: leave it away to begin now")
    return given or None


@contextlib.asynccontextmanager
async def _joined(feed: Feed, after: str | None) -> AsyncGenerator[AsyncGenerator[News | Reset]]:
    headers = {"Retry-After": RETRY_AFTER_S}
    try:
        async with feed.join(after) as told:
            yield told
    except TooMany:
        detail = "so many listen already that no more are taken: poll GET /v1/stats meanwhile"
        title = "Too many listeners"
        raise Problem(503, "too-many-listeners", title, detail, headers=headers) from None
    except NotReady:
        detail = "the stream of events cannot be read just now: try again"
        title = "Redis is not available"
        raise Problem(503, "unavailable", title, detail, headers=headers) from None


async def _send_all(
    response: web.StreamResponse, told: AsyncGenerator[News | Reset], wish: Wish
) -> None:
    """Send until the client, the feed or the time is gone."""
    clock = asyncio.get_running_loop().time
    await _write(response, b"retry: %d\n\n" % RECONNECT_MS)
    wrote_at = clock()
    async with asyncio.timeout(LASTS_S):
        async for what in told:
            if text := _text(what, wish, was_silent=clock() - wrote_at >= HEARTBEAT_S):
                await _write(response, text)
                wrote_at = clock()


async def _write(response: web.StreamResponse, text: bytes) -> None:
    async with asyncio.timeout(WRITE_S):
        await response.write(text)


def _text(what: News | Reset, wish: Wish, *, was_silent: bool) -> bytes:
    """What to send for some news; empty where there is nothing for this client."""
    if isinstance(what, Reset):
        return b'event: reset\ndata: {"why":"missing"}\nid: %s\n\n' % what.id.encode()
    jobs = _jobs(what, wish)
    if not jobs and (was_silent or not what.told):
        # A block without data is no event, but the client remembers the id.
        return b": here\nid: %s\n\n" % what.id.encode()
    return jobs


def _jobs(news: News, wish: Wish) -> bytes:
    """The events of one entry that are wanted; the last one carries the entry's id."""
    wanted = [told.data for told in news.told if wish.admits(told)]
    if not wanted:
        return b""
    *others, last = (b"event: job\ndata: " + data for data in wanted)
    return b"\n\n".join([*others, last + b"\nid: %s\n\n" % news.id.encode()])
