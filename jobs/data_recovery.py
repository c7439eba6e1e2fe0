"""When what Redis says may be relied on again, after it came back with other data.

A Redis that restarts, is replaced by a replica, or is emptied may lack its last writes. The workers
know what they wrote, so each of them writes back what is missing. Until all have done so, nothing
is submitted, enqueued or decided by an operator. The recovery state stands beside the data, and
names the server that it is of: a state of another server, or none, shows that the data is another.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

MAX_WAIT_S: Final = 15.0
"""How long a recovery waits for workers that do not report."""


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
    is_emptied: bool = False
    """Whether the data was gone, rather than older."""


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
    had_state: bool = False,
) -> RecoveryState | None:
    """The state that follows on `found`; None if it stays.

    `known_workers`: those that the caller knows to be alive; `had_state`: whether it has seen a
    state before. A namespace that nobody uses yet is ready at once.
    """
    if found is None or found.server != server.server:
        is_used = had_state or server.subscribers or server.expected or known_workers
        is_new = found is None and not is_used
        return RecoveryState(
            new_epoch,
            server.server,
            is_ready=is_new,
            since=server.now,
            is_emptied=found is None and not is_new,
        )
    if found.is_ready or awaits_workers(found, server, known_workers):
        return None
    return replace(found, is_ready=True)


def awaits_workers(
    state: RecoveryState, server: RecoveryFacts, known_workers: Collection[str]
) -> bool:
    """Whether a worker has not reported yet, and is still waited for."""
    if server.now >= state.since + MAX_WAIT_S:
        return False
    if state.is_emptied and not server.expected.union(known_workers):
        return True  # nobody has said yet who was alive
    reported = {worker for worker, epoch in server.reports.items() if epoch == state.epoch}
    missing = server.expected.union(known_workers) - reported
    return bool(missing) or server.subscribers > len(reported)
