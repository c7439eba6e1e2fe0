"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from .calls import AsyncCalls
from .errors import ApiError, ConnectionFailed, WaitTimeout, succeeded
from .events import END_STATES, Event, EventParser
from .models import Job, Kind
from .paging import Page
from .requests import Request, with_job_ids
from .retries import RetryPolicy
from .settings import STREAM_SILENCE_S, ClientSettings, read_answer
from .watcher import JobWatcher

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .models import JobOptions

T = TypeVar("T")

RECHECK_S = 60.0
"""How often a job is read although no event names it."""

FALLBACK_POLL_S = 10.0
"""How long one long poll lasts while the stream of events is away."""


class AsyncClient(AsyncCalls):
    """Calls a knouds-worker from asyncio. Tasks of one event loop share one.

    However many jobs are waited for, there is one stream of events. It takes what `Client` takes.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: RetryPolicy | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._settings = ClientSettings.of(base_url, token, timeout_s, retries)
        self._owns_http = http is None
        self._http = http or httpx.AsyncClient()
        self._watcher = JobWatcher(lambda: self._stream({}, None, STREAM_SILENCE_S))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._watcher.close()
        if self._owns_http:
            await self._http.aclose()

    async def run(
        self,
        kind: Kind,
        target: str,
        inputs: dict[str, Any],
        *,
        timeout_s: float = 3600.0,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Enqueue a job and wait for its result.

        Raises `JobDead`, `JobCancelled` and `JobParked` where it has none, and `WaitTimeout` after
        `timeout_s`; the job goes on then.
        """
        job = await self.enqueue_job(kind=kind, target=target, inputs=inputs, **options)
        return succeeded(await self.wait(job.id, timeout_s=timeout_s))

    async def wait(self, job_id: str, *, timeout_s: float = 3600.0) -> Job:
        """A job, as soon as it is settled or parked; raises `WaitTimeout`."""
        deadline = time.monotonic() + timeout_s
        async with self._watcher.watch(job_id) as changed:
            while True:
                changed.clear()  # before the read: a change after the read sets it again
                job = await self.get_job(job_id)
                if job.state in END_STATES:
                    return job
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise WaitTimeout(job_id, timeout_s)
                if self._watcher.is_connected:
                    await _set_within(changed, min(left_s, RECHECK_S))
                else:
                    await self.wait_for_job(job_id, timeout_s=min(left_s, FALLBACK_POLL_S))

    async def iterate(
        self, list_page: Callable[..., Awaitable[Page[T]]], **query: Any
    ) -> AsyncIterator[T]:
        """Every item of a list, page by page: `client.iterate(client.list_jobs, state="dead")`."""
        cursor: str | None = None
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            page = await list_page(**query, **more)
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return

    async def stream_events(
        self, *, last_event_id: str | None = None, silence_s: float = STREAM_SILENCE_S, **query: str
    ) -> AsyncGenerator[Event, None]:
        """What changes, until the connection ends; raises `ApiError` and `ConnectionFailed`.

        `query`: `state`, `kind`, `target`, `account`.
        """
        try:
            async with contextlib.aclosing(self._stream(query, last_event_id, silence_s)) as items:
                async for item in items:
                    if item is not None:
                        yield item
        except httpx.TransportError as error:
            raise ConnectionFailed(f"the stream broke: {error}") from error

    async def _stream(
        self, query: dict[str, str], last_event_id: str | None, silence_s: float
    ) -> AsyncGenerator[Event | None, None]:
        """None first, when it is open, and at each sign of life; and the events."""
        given = query if last_event_id is None else {**query, "last_event_id": last_event_id}
        arguments = self._settings.stream_arguments(given, silence_s)
        async with self._http.stream(**arguments) as response:
            if not response.is_success:
                await response.aread()
                read_answer(response)
            yield None
            parser = EventParser()
            async for line in response.aiter_lines():
                yield parser.feed(line)

    async def _send(self, request: Request) -> Any:
        request, tries = with_job_ids(request), 0
        while True:
            tries += 1
            try:
                return read_answer(await self._http.request(**self._settings.arguments(request)))
            except (ApiError, httpx.TransportError) as error:
                delay_s = self._settings.retries.delay_s(request, error, tries)
                if delay_s is None:
                    if isinstance(error, ApiError):
                        raise
                    raise ConnectionFailed(f"{request.method} {request.path}: {error}") from error
            await asyncio.sleep(delay_s)


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, `timeout_s` at most."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
