"""Hands the lines of a batch file from a thread that reads them to the event loop that sends them.

Standard input may be silent for minutes, and what was read before must be sent meanwhile, and
results written. The thread is a daemon: a read that waits for input cannot be interrupted, and
must not keep the command from its end.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Final, Self

from worker.cli.batch_file import BatchLine

MAX_CALL_JOBS: Final = 1_000
"""Jobs per call: the API's limit."""

MAX_CALL_BYTES: Final = 4 << 20
"""Bytes per call, below the API's `KNOUDS_MAX_BODY_BYTES` of 8 MiB. One larger job goes alone."""

MAX_CALL_WAIT_S: Final = 1.0
"""How long a line waits at most for others that join its call."""

MAX_READ_AHEAD: Final = 100
"""Lines that are read before somebody takes them."""


class LineFeed:
    """The lines of an iterator that may block. Use it in a `with` block."""

    def __init__(self, lines: Iterator[BatchLine]) -> None:
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        self._ready: deque[BatchLine] = deque()
        self._room = threading.Semaphore(MAX_READ_AHEAD)
        self._has_news = asyncio.Event()
        self._is_closed = False
        self._is_read = False
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        """Start to read."""
        threading.Thread(target=self._read, name="batch-lines", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read no further line."""
        self._is_closed = True
        self._room.release()

    @property
    def is_at_end(self) -> bool:
        """Whether every line was taken."""
        return self._is_read and not self._ready

    async def take(self, within_s: float | None = None) -> BatchLine | None:
        """The next line; None at the end, and where none came within that many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self._ready and not self._is_read:
                    await self._has_news.wait()
                    self._has_news.clear()
        if not self._ready:
            return None
        self._room.release()
        return self._ready.popleft()

    async def lines(self) -> AsyncIterator[BatchLine]:
        """Every line; raises what reading them raised, after those that came before."""
        while (line := await self.take()) is not None:
            yield line
        self.raise_failure()

    async def calls(self) -> AsyncIterator[list[BatchLine]]:
        """Every line, in calls of bounded count, size and waiting time."""
        call: list[BatchLine] = []
        size_bytes, send_at = 0, 0.0
        while call or not self.is_at_end:
            line = await self.take(max(0.0, send_at - self._loop.time()) if call else None)
            is_full = line is None or (
                len(call) == MAX_CALL_JOBS or size_bytes + line.size_bytes > MAX_CALL_BYTES
            )
            if call and is_full:
                yield call
                call, size_bytes = [], 0
            if line is None:
                continue
            if not call:
                send_at = self._loop.time() + MAX_CALL_WAIT_S
            call.append(line)
            size_bytes += line.size_bytes

    def raise_failure(self) -> None:
        """Raise what ended the reading before the end of the file, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _read(self) -> None:
        try:
            for line in self._lines:
                self._room.acquire()
                if self._is_closed:
                    return
                self._ready.append(line)
                if not self._has_news.is_set():
                    self._wake()
        except Exception as error:  # noqa: BLE001  raised again where lines are taken
            self._failure = error
        finally:
            self._is_read = True
            self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the command has ended, and its loop is closed
            self._loop.call_soon_threadsafe(self._has_news.set)
