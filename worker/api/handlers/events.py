"""`GET /v1/events`: what changes, as server-sent events (WHATWG HTML, 9.2).

Only the last event of an entry of the stream carries an id. So a client that is interrupted within
an entry gets all of it again, and misses nothing.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final, assert_never

from aiohttp import web
from redis.exceptions import RedisError

from worker.api.auth.continued_access import until_access_ends
from worker.api.auth.principal import current_principal
from worker.api.context import context_of
from worker.api.models.events import EndResponse, ResetResponse
from worker.api.models.query_parameters import ENTRY_ID_PATTERN, EventsQuery
from worker.api.models.response import encode_response
from worker.api.parsing import read_query
from worker.api.problems import RETRY_AFTER_S, Problem, bad_parameter, problem_of
from worker.api.streams.broadcast_items import (
    BroadcastBatch,
    BroadcastBreaker,
    BroadcastCredits,
    BroadcastEvent,
    BroadcastItem,
    BroadcastSchedule,
    EventFilter,
)
from worker.api.streams.broadcaster import (
    KEEPALIVE_S,
    EventBatch,
    EventBroadcaster,
    StreamReset,
    StreamUnavailable,
)
from worker.api.streams.connection import run_while_connected
from worker.tasks import cancel_and_wait

CONTENT_TYPE: Final = "text/event-stream"
LAST_EVENT_ID: Final = "Last-Event-ID"

MAX_STREAM_S: Final = 3_600.0
"""A stream ends after so long; the client reconnects."""

RECONNECT_DELAY_MS: Final = 2_000

_ENTRY_ID: Final = re.compile(ENTRY_ID_PATTERN)
_RESET_DATA: Final = encode_response(ResetResponse(why="missing"))
_END_DATA: Final = encode_response(EndResponse(why="access"))


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Every transition as it happens, as server-sent events.

    Event `job`: a transition. Without a filter by `state` also: event `breaker`: a breaker changed;
    event `batch`: one was created, sealed or cancelled, is stalled or complete; event `schedule`: a
    schedule was set, removed, switched on or off, or left ticks out; for role `read`, event
    `budget`: it was set, removed, nearly used up, closed or reopened; event `balance`: an account
    is likely to run out of credits within the hour, or not any more. Event `reset`: events are
    missing before it, read the lists. Event `end`: the token or login has ended or has other rights
    now.
    """
    query = read_query(request, EventsQuery)
    after = _last_event_id(request) or query.last_event_id
    caller = current_principal()
    event_filter = EventFilter(
        query.state,
        query.kind,
        query.target,
        query.account,
        caller.grants.tenant,
        sees_credits=caller.sees_credits,
        sees_payloads=caller.sees_payloads,
    )
    response = web.StreamResponse(
        headers={"Content-Type": CONTENT_TYPE, "X-Accel-Buffering": "no"},
    )
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    broadcaster = context_of(request).broadcaster
    with broadcaster.slots.hold(caller):
        async with _subscribed(broadcaster, after) as batches:
            await response.prepare(request)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with contextlib.aclosing(batches):
                    sending = _send_all(response, batches, event_filter)
                    await run_while_connected(
                        request, _send_while_allowed(request, response, sending)
                    )
    return response


def _last_event_id(request: web.Request) -> str | None:
    given = request.headers.get(LAST_EVENT_ID)
    if given and not _ENTRY_ID.fullmatch(given):
        raise bad_parameter(LAST_EVENT_ID, "is not the id of an event: omit it to begin now")
    return given or None


@contextlib.asynccontextmanager
async def _subscribed(
    broadcaster: EventBroadcaster, after_id: str | None
) -> AsyncGenerator[AsyncGenerator[EventBatch | StreamReset]]:
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    try:
        async with broadcaster.subscribe(after_id) as batches:
            yield batches
    except StreamUnavailable as error:
        if isinstance(error.__cause__, Exception) and (problem := problem_of(error.__cause__)):
            raise problem from None
        detail = "the stream of events cannot be read now: try again"
        title = "Redis is not available"
        raise Problem(503, "unavailable", title, detail, headers=headers) from None


async def _send_while_allowed(
    request: web.Request, response: web.StreamResponse, work: Coroutine[Any, Any, None]
) -> None:
    """Send until that ends; where the caller's access ends before, say so as the last event."""
    sending, ended = asyncio.create_task(work), asyncio.create_task(until_access_ends(request))
    try:
        await asyncio.wait((sending, ended), return_when=asyncio.FIRST_COMPLETED)
        is_cut_off = not sending.done()
    finally:
        await cancel_and_wait(sending, ended)
    if is_cut_off:
        await response.write(b"event: end\ndata: %s\n\n" % _END_DATA)
    elif (error := sending.exception()) is not None:
        raise error


async def _send_all(
    response: web.StreamResponse,
    batches: AsyncGenerator[EventBatch | StreamReset],
    event_filter: EventFilter,
) -> None:
    """Send until the client disconnects, the stream ends or the time is up."""
    clock = asyncio.get_running_loop().time
    await response.write(b"retry: %d\n\n" % RECONNECT_DELAY_MS)
    wrote_at = clock()
    async with asyncio.timeout(MAX_STREAM_S):
        async for item in batches:
            if text := _frame(item, event_filter, was_silent=clock() - wrote_at >= KEEPALIVE_S):
                await response.write(text)
                wrote_at = clock()


def _frame(item: EventBatch | StreamReset, event_filter: EventFilter, *, was_silent: bool) -> bytes:
    """The text to send for an item; empty where no event passes the filter."""
    if isinstance(item, StreamReset):
        return b"event: reset\ndata: %s\nid: %s\n\n" % (_RESET_DATA, item.id.encode())
    frames = _event_frames(item, event_filter)
    if not frames and (was_silent or not item.events):
        # A block without data is no event, but the client remembers the id.
        return b": here\nid: %s\n\n" % item.id.encode()
    return frames


def _event_frames(batch: EventBatch, event_filter: EventFilter) -> bytes:
    """The events of one entry that pass the filter; the last one carries the entry's id."""
    matching = [event for event in batch.events if event_filter.matches(event)]
    if not matching:
        return b""
    *others, last = (
        b"event: %s\ndata: %s" % (_name(event), event_filter.data_of(event)) for event in matching
    )
    return b"\n\n".join([*others, last + b"\nid: %s\n\n" % batch.id.encode()])


def _name(event: BroadcastItem) -> bytes:
    match event:
        case BroadcastEvent():
            return b"job"
        case BroadcastBreaker():
            return b"breaker"
        case BroadcastBatch():
            return b"batch"
        case BroadcastCredits(is_balance=is_balance):
            return b"balance" if is_balance else b"budget"
        case BroadcastSchedule():
            return b"schedule"
        case _:
            assert_never(event)
