"""The outbox of callbacks: what the commit of a transition writes when an app is to hear of it.

These are operations of the same change as the record, so there is no transition without its
callback and no callback without its transition.
"""

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import msgspec

from jobs.callbacks import (
    Callback,
    CallbackState,
    event_of,
    job_callback,
    with_bounded_history,
)
from jobs.job import Job
from worker.store.client import CommitOperation
from worker.store.codec import encode
from worker.store.commit import NEVER_TOO_MANY, Change, version_of
from worker.store.keys import Keys

MAX_RECORD_BYTES: Final = 16_384
"""A longer record is kept with the newest lines of its history alone."""

MAX_OUTBOX_BYTES: Final = 256 << 20
"""What callbacks may take, where the settings do not say."""

KEPT_MS: Final = 400 * 86_400_000
"""No callback is kept for longer, should nothing remove it before."""

KEEP_DELIVERED_SHARE: Final = 0.5
"""Share of the outbox from which on delivered callbacks are not kept."""

REFUSING_SHARE: Final = 0.8
"""Share of the outbox from which on no job with callbacks is enqueued."""

WAKE_MESSAGE: Final = "callbacks"
"""The message on the channel of wake-ups that callbacks are due."""

LOST_COUNTER: Final = "callbacks|lost"
"""The counter of events for which there was no room."""


class CallbackOutbox:
    """What is written to the outbox of one namespace, and how full that is.

    Its size is that of the last read, so the bound is kept within some seconds.
    """

    def __init__(self, keys: Keys, max_bytes: int = MAX_OUTBOX_BYTES) -> None:
        self._keys = keys
        self.max_bytes = max_bytes
        self.used_bytes = 0
        """As it was read last; see `CallbackStore.read_use`."""

    @property
    def is_full(self) -> bool:
        """Whether events are lost."""
        return self.used_bytes >= self.max_bytes

    @property
    def refuses_jobs(self) -> bool:
        """Whether no job with callbacks is enqueued."""
        return self.used_bytes >= REFUSING_SHARE * self.max_bytes

    def operations(self, old: Job | None, new: Job, change: Change) -> list[CommitOperation]:
        """What belongs to a change that writes `new` over `old`."""
        event = event_of(old, new)
        if event is None:
            return []
        if self.is_full:
            return self._lost()
        record, host = change.record, host_of(new.callback_url or "")
        if len(record) > MAX_RECORD_BYTES:
            record = encode(with_bounded_history(new))
        found = job_callback(new, event, sequence=version_of(change.rev), host=host)
        return self.entry(msgspec.structs.replace(found, record=msgspec.Raw(record)))

    def room_for(self, callback: Callback) -> list[CommitOperation]:
        """The operations of `entry`; where there is no room, those that count it as lost."""
        return self._lost() if self.is_full else self.entry(callback)

    def _lost(self) -> list[CommitOperation]:
        return [("H", self._keys.counters, LOST_COUNTER, LOST_COUNTER, NEVER_TOO_MANY, 1, 0)]

    def entry(self, callback: Callback) -> list[CommitOperation]:
        """The operations that put a callback into the outbox; workers are woken."""
        keys, data = self._keys, encode(callback)
        return [
            ("S", keys.callback(callback.id), data, KEPT_MS),
            ("A", keys.callback_queue(callback.host), callback.created_at, callback.id),
            ("A", keys.callback_hosts, callback.created_at, callback.host),
            ("A", keys.callbacks(CallbackState.PENDING), callback.since, callback.id),
            (
                "A",
                keys.callbacks_of(callback.subject, callback.subject_id),
                callback.sequence,
                callback.id,
            ),
            ("H", keys.callback_use, "bytes", "bytes", NEVER_TOO_MANY, len(data), 0),
            ("P", keys.wake, WAKE_MESSAGE),
        ]


def is_tight(outbox: CallbackOutbox) -> bool:
    """Whether delivered callbacks are not kept, for the room that others need."""
    return outbox.used_bytes > KEEP_DELIVERED_SHARE * outbox.max_bytes


@lru_cache(maxsize=1_024)
def host_of(url: str) -> str:
    """The queue of a URL: its scheme, host and port."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (80 if parts.scheme == "http" else 443)
    return f"{parts.scheme}://[{host}]:{port}" if ":" in host else f"{parts.scheme}://{host}:{port}"
