"""When what Redis says may be relied on again, after it came back with other data.

A Redis that restarts, is replaced by a replica, or is emptied may lack its last writes. The workers
know what they wrote, so each of them writes back what is missing. Until all have done so, nothing
is submitted, enqueued or decided by an operator. The recovery state stands beside the data, and
names the server that it is of: a state of another server, or none, shows that the data is another.
Workers count up a number beside it: one that falls shows an older state of the same server.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

MAX_WAIT_S: Final = 15.0
"""How long a recovery waits for workers that do not report."""


class DataOrigin(StrEnum):
    """What was found when a state was written."""

    NEW = "new"
    """No data, and no sign that there had been any."""
    EMPTIED = "emptied"
    """No data, where there had been some."""
    OLDER = "older"
    """Data of another server."""


@dataclass(frozen=True, slots=True)
class RecoveryState:
    """Whether the data of a server may be relied on."""

    epoch: str
    """Another one for each recovery."""
    server: str
    """The server that the data was found on, and its place in the replication."""
    is_ready: bool
    since: float
    """When it began, in Unix seconds of Redis."""
    origin: DataOrigin = DataOrigin.OLDER


@dataclass(frozen=True, slots=True)
class RecoveryFacts:
    """What a server says now."""

    server: str
    """Its run id and its replication id: the second changes where it takes over the data of another
    server, or becomes a primary."""
    now: float
    """Unix seconds, by its clock."""
    subscribers: int
    """Workers that are connected, whatever its data says."""
    expected: frozenset[str]
    """Workers that were alive when its data was last written, or that any worker knows."""
    reports: Mapping[str, str]
    """Worker → the epoch of the last recovery that it has done its part of."""


def next_state(
    found: RecoveryState | None,
    server: RecoveryFacts,
    known_workers: Collection[str],
    new_epoch: str,
    *,
    last_epoch: str | None = None,
    older_epoch: str | None = None,
) -> RecoveryState | None:
    """The state that follows on `found`; None if it stays.

    `known_workers`: those that the caller knows to be alive; `last_epoch`: the one it saw last, if
    any; `older_epoch`: one of which the caller saw later data than there is now. A namespace that
    nobody uses yet is ready at once; who knows better begins a recovery.
    """
    is_gone = found is None or is_mistaken(found, last_epoch)
    is_older = found is not None and found.epoch == older_epoch
    if found is None or is_gone or is_older or found.server != server.server:
        is_used = last_epoch or server.subscribers or server.expected or known_workers
        origin = DataOrigin.EMPTIED if is_gone else DataOrigin.OLDER
        if found is None and not is_used:
            origin = DataOrigin.NEW
        is_new = origin is DataOrigin.NEW
        return RecoveryState(new_epoch, server.server, is_new, server.now, origin)
    if found.is_ready or awaits_workers(found, server, known_workers):
        return None
    return replace(found, is_ready=True)


def is_mistaken(found: RecoveryState, last_epoch: str | None) -> bool:
    """Whether a process without a past took data for new that had been there before."""
    return found.origin is DataOrigin.NEW and last_epoch not in (None, found.epoch)


def awaits_workers(
    state: RecoveryState, server: RecoveryFacts, known_workers: Collection[str]
) -> bool:
    """Whether a worker has not reported yet, and is still waited for."""
    if server.now >= state.since + MAX_WAIT_S:
        return False
    if state.origin is DataOrigin.EMPTIED and not server.expected.union(known_workers):
        return True  # nobody has said yet who was alive
    reported = {worker for worker, epoch in server.reports.items() if epoch == state.epoch}
    missing = server.expected.union(known_workers) - reported
    return bool(missing) or server.subscribers > len(reported)
