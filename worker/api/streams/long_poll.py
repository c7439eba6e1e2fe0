"""Waiting for jobs to settle or park: one subscription for all long polls of this process.

No change is missed: a long poll registers before it reads the record, and reads it again every few
seconds, whatever the subscription reports.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from typing import Final

from jobs.states import SETTLED_OR_PARKED
from worker.api.streams.stream_slots import StreamSlots
from worker.app.actions import NoSuchJob
from worker.engine.subscriber import Subscriber
from worker.store import Store
from worker.store.commit import VersionedJob

RECHECK_INTERVAL_S: Final = 3.0
"""How often a long poll reads its job again, and looks at the access of its caller."""

SUBSCRIBE_TIMEOUT_S: Final = 1.0


class LongPolls:
    """The long polls of this process, by the job they wait for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events_by_job: dict[str, set[asyncio.Event]] = {}
        self._subscriber = Subscriber(store.client, store.keys.settled)
        self.slots = StreamSlots.for_long_polls()
        self._is_closed = False

    async def wait_until_settled_or_parked(
        self,
        job_id: str,
        timeout_s: float,
        is_client_connected: Callable[[], bool],
        has_same_rights: Callable[[], Awaitable[bool]],
    ) -> None:
        """Return when the job is settled or parked, the time is up, or the client disconnected.

        Also when its rights are others, which is looked at as often as the job is. Raises
        `NoSuchJob`, and what Redis and `has_same_rights` raise.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        with self._registered(job_id) as changed:
            await _wait_up_to(self._subscriber.subscribed, min(timeout_s, SUBSCRIBE_TIMEOUT_S))
            while True:
                changed.clear()  # before the read: a change after the read sets it again
                (record,) = await self._store.jobs.read_many([job_id])
                if record is None:
                    raise NoSuchJob(job_id)
                left = deadline - clock()
                if (
                    not isinstance(record, VersionedJob)
                    or record.job.state in SETTLED_OR_PARKED
                    or left <= 0
                    or self._is_closed
                    or not is_client_connected()
                ):
                    return
                await _wait_up_to(changed, min(left, RECHECK_INTERVAL_S))
                if not changed.is_set() and not await has_same_rights():
                    return

    @contextlib.contextmanager
    def _registered(self, job_id: str) -> Generator[asyncio.Event]:
        changed = asyncio.Event()
        self._events_by_job.setdefault(job_id, set()).add(changed)
        try:
            yield changed
        finally:
            others = self._events_by_job[job_id]
            others.discard(changed)
            if not others:
                del self._events_by_job[job_id]

    async def run(self) -> None:
        """Wake the long polls of jobs that the channel names, for ever."""
        async for message in self._subscriber.messages():
            for job_id in message.split():
                self._notify(job_id)

    def _notify(self, job_id: str) -> None:
        for changed in self._events_by_job.get(job_id, ()):
            changed.set()

    def close(self) -> None:
        """End every long poll with the job as it is now."""
        self._is_closed = True
        for job_id in self._events_by_job:
            self._notify(job_id)


async def _wait_up_to(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, `timeout_s` at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
