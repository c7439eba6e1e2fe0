"""One stream of events for all waits of an async client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

import httpx

from .errors import ApiError
from .events import Event

RECONNECT_DELAY_S = 2.0

OpenStream = Callable[[], AsyncGenerator["Event | None", None]]
"""Yields None first, when it is open, and at each sign of life; and the events."""


class JobWatcher:
    """Sets an `asyncio.Event` when a job ends. It streams only while somebody waits."""

    def __init__(self, open_stream: OpenStream) -> None:
        self._open_stream = open_stream
        self._waits: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self.is_connected = False

    @contextlib.asynccontextmanager
    async def watch(self, job_id: str) -> AsyncGenerator[asyncio.Event, None]:
        """An event that is set when the job may have ended; once the stream is open, or failed."""
        changed = asyncio.Event()
        self._waits.setdefault(job_id, set()).add(changed)
        try:
            if self._task is None or self._task.done():
                self._tried.clear()
                self._task = asyncio.create_task(self._run())
            await self._tried.wait()
            yield changed
        finally:
            self._waits[job_id].discard(changed)
            if not self._waits[job_id]:
                del self._waits[job_id]
            if not self._waits:
                await self.close()

    async def close(self) -> None:
        """End the stream."""
        task, self._task = self._task, None
        self.is_connected = False
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ApiError, httpx.TransportError):
                async with contextlib.aclosing(self._open_stream()) as stream:
                    async for event in stream:
                        self.is_connected = True
                        self._tried.set()
                        if event is not None:
                            self._notify(event)
            self.is_connected = False
            self._tried.set()
            self._notify_all()
            await asyncio.sleep(RECONNECT_DELAY_S)

    def _notify(self, event: Event) -> None:
        if event.name == "reset":
            self._notify_all()
        elif event.name == "job":
            job_id = str(event.data.get("id"))
            if event.ends_wait_for(job_id):
                for changed in self._waits.get(job_id, ()):
                    changed.set()

    def _notify_all(self) -> None:
        for waits in self._waits.values():
            for changed in waits:
                changed.set()
