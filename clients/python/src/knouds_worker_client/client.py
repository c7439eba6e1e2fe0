"""The client that blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from .calls import Calls
from .errors import ApiError, ConnectionFailed, WaitTimeout, succeeded
from .events import END_STATES, Event, EventParser
from .models import Job, Kind
from .paging import Page
from .requests import Request, with_job_ids
from .retries import RetryPolicy
from .settings import LONG_POLL_S, STREAM_SILENCE_S, ClientSettings, read_answer

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .models import JobOptions

T = TypeVar("T")


class Client(Calls):
    """Calls a knouds-worker. Threads may share one.

    Without `base_url` and `token` those of KNOUDS_API_URL and KNOUDS_API_TOKEN are used, and
    without these the API of this machine. `http`: an httpx client of your own, which stays open.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: RetryPolicy | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._settings = ClientSettings.of(base_url, token, timeout_s, retries)
        self._owns_http = http is None
        self._http = http or httpx.Client()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            self._http.close()

    def run(
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
        job = self.enqueue_job(kind=kind, target=target, inputs=inputs, **options)
        return succeeded(self.wait(job.id, timeout_s=timeout_s))

    def wait(self, job_id: str, *, timeout_s: float = 3600.0) -> Job:
        """A job, as soon as it is settled or parked; raises `WaitTimeout`."""
        deadline = time.monotonic() + timeout_s
        job = self.get_job(job_id)
        if job.state not in END_STATES:
            job = self._wait_by_events(job, deadline)
        while job.state not in END_STATES:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise WaitTimeout(job_id, timeout_s)
            job = self.wait_for_job(job_id, timeout_s=min(left_s, LONG_POLL_S))
        return job

    def iterate(self, list_page: Callable[..., Page[T]], **query: Any) -> Iterator[T]:
        """Every item of a list, page by page: `client.iterate(client.list_jobs, state="dead")`."""
        cursor: str | None = None
        while True:
            page = list_page(**query) if cursor is None else list_page(**query, cursor=cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def stream_events(
        self, *, last_event_id: str | None = None, silence_s: float = STREAM_SILENCE_S, **query: str
    ) -> Generator[Event]:
        """What changes, until the connection ends; raises `ApiError` and `ConnectionFailed`.

        `query`: `state`, `kind`, `target`, `account`.
        """
        try:
            for item in self._stream(query, last_event_id, silence_s):
                if item is not None:
                    yield item
        except httpx.TransportError as error:
            raise ConnectionFailed(f"the stream broke: {error}") from error

    def _stream(
        self, query: dict[str, str], last_event_id: str | None, silence_s: float
    ) -> Generator[Event | None]:
        """None first, when it is open, and at each sign of life; and the events."""
        given = query if last_event_id is None else {**query, "last_event_id": last_event_id}
        with self._http.stream(**self._settings.stream_arguments(given, silence_s)) as response:
            if not response.is_success:
                response.read()
                read_answer(response)
            yield None
            parser = EventParser()
            for line in response.iter_lines():
                yield parser.feed(line)

    def _wait_by_events(self, job: Job, deadline: float) -> Job:
        """The job when it has ended, else as it was when the stream broke or the time was up."""
        query = {"kind": job.kind, "target": job.target, "account": job.account}
        left_s = max(deadline - time.monotonic(), 0.0)
        stream = self._stream(query, None, min(left_s, STREAM_SILENCE_S))
        is_open = False
        try:
            for item in stream:
                if not is_open or (item is not None and item.ends_wait_for(job.id)):
                    is_open = True
                    job = self.get_job(job.id)
                if job.state in END_STATES or time.monotonic() >= deadline:
                    break
        except (httpx.TransportError, ApiError):
            pass  # the long poll says what is wrong, if it still is
        finally:
            stream.close()
        return job

    def _send(self, request: Request) -> Any:
        request, tries = with_job_ids(request), 0
        while True:
            tries += 1
            try:
                return read_answer(self._http.request(**self._settings.arguments(request)))
            except (ApiError, httpx.TransportError) as error:
                delay_s = self._settings.retries.delay_s(request, error, tries)
                if delay_s is None:
                    if isinstance(error, ApiError):
                        raise
                    raise ConnectionFailed(f"{request.method} {request.path}: {error}") from error
            time.sleep(delay_s)
