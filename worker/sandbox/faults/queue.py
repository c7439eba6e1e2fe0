"""The faults added by admin calls: which call each applies to, and how often."""

import itertools
from dataclasses import dataclass

from worker.sandbox.faults.fault_table import (
    FaultBehaviour,
    SandboxFault,
    check_fault,
    resolve_fault,
)
from worker.sandbox.faults.options import AdminFault, FaultSpec, Route


@dataclass(frozen=True, slots=True)
class SandboxCall:
    """A call to match faults against; kind, target and mode are empty where none is known."""

    route: Route
    key: str = ""
    kind: str = ""
    target: str = ""
    label: str = ""
    mode: str = ""
    has_ended: bool = True
    """Whether the run of a poll or cancel has ended."""


def applies_now(spec: FaultSpec, call: SandboxCall) -> bool:
    """Whether a fault can change this call: before its end a run has no result anyway."""
    is_early = call.route is Route.POLL and not call.has_ended
    return spec.fault != FaultBehaviour.NO_RESULT or not is_early


@dataclass(slots=True)
class QueuedFault:
    """A fault of an admin, and how often it was applied."""

    id: int
    spec: AdminFault
    default_routes: frozenset[Route]
    hits: int = 0

    def matches(self, call: SandboxCall) -> bool:
        """Return whether this fault applies to `call` and is not used up."""
        if self.spec.times is not None and self.hits >= self.spec.times:
            return False
        if not applies_now(self.spec, call):
            return False
        if self.spec.fault == "ASYNC_NOT_SUPPORTED" and call.mode != "async":
            return False  # a sync run needs no async mode
        wanted = self.spec.match
        routes = self.default_routes if wanted.route is None else {wanted.route}
        return (
            call.route in routes
            and wanted.kind in (None, call.kind)
            and wanted.target in (None, call.target)
            and wanted.label in (None, call.label)
            and wanted.key in (None, call.key)
            and wanted.mode in (None, call.mode)
        )


class FaultQueue:
    """The faults of an admin, oldest first; the first that matches a call is applied."""

    def __init__(self) -> None:
        self.queued: list[QueuedFault] = []
        self._ids = itertools.count(1)

    def add(self, spec: AdminFault) -> QueuedFault:
        """Add a fault.

        Raises:
            FaultError: it cannot be applied, or not on the given route.
        """
        check_fault(spec, spec.match.route)
        fault = resolve_fault(spec, "model", "any")
        entry = QueuedFault(next(self._ids), spec, fault.default_routes)
        self.queued.append(entry)
        return entry

    def remove(self, fault_id: int | None = None) -> int:
        """Remove one fault, or all; return how many were removed."""
        before = len(self.queued)
        self.queued = [entry for entry in self.queued if fault_id not in (None, entry.id)]
        return before - len(self.queued)

    def take(self, call: SandboxCall) -> SandboxFault | None:
        """Return the fault that applies to `call`, and count it; None where none does."""
        for entry in self.queued:
            if entry.matches(call):
                entry.hits += 1
                return resolve_fault(entry.spec, call.kind or "model", call.target)
        return None
