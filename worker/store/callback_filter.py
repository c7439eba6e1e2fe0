"""Which callbacks a list shows."""

from typing import NamedTuple

from jobs.callbacks import Callback, CallbackState, CallbackSubject


class CallbackFilter(NamedTuple):
    """Which callbacks a list shows."""

    state: CallbackState | None = None
    host: str = ""
    """A host, with or without scheme and port; empty for any."""
    subject: CallbackSubject = CallbackSubject.JOB
    subject_id: str = ""
    """A job or batch, by its stored id; empty for any."""
    tenant: str = ""
    """Callbacks of this tenant alone; empty for any."""


def matches(callback: Callback, wanted: CallbackFilter) -> bool:
    """Whether a list shows a callback, but for its subject."""
    if wanted.state is not None and callback.state is not wanted.state:
        return False
    if wanted.tenant and not callback.subject_id.startswith(f"{wanted.tenant}~"):
        return False
    return not wanted.host or _is_host(callback.host, wanted.host.lower())


def _is_host(queue: str, wanted: str) -> bool:
    name = queue.partition("://")[2]
    return wanted in (queue, name, name.rpartition(":")[0].strip("[]"))
