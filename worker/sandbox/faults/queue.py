"""Faults put up by admin calls: which call they strike, and how often still."""

import itertools
from dataclasses import dataclass

from worker.sandbox.faults.catalogue import SandboxFault, check_fault, resolve_fault
from worker.sandbox.faults.options import AdminFault, Route


@dataclass(frozen=True, slots=True)
class SandboxCall:
    """What a fault can be matched against; kind, target and mode are empty where none is known."""

    route: Route
    key: str = ""
    kind: str = ""
    target: str = ""
    label: str = ""
    mode: str = ""


@dataclass(slots=True)
class QueuedFault:
    """A fault in force and how often it has struck."""

    id: int
    spec: AdminFault
    default_routes: frozenset[Route]
    hits: int = 0

    def matches(self, call: SandboxCall) -> bool:
        """Tell whether this fault is for `call` and not spent."""
        spent = self.spec.times is not None and self.hits >= self.spec.times
        wanted = self.spec.match
        routed = (
            call.route in self.default_routes
            if wanted.route is None
            else call.route == wanted.route
        )
        return (
            not spent
            and routed
            and wanted.kind in (None, call.kind)
            and wanted.target in (None, call.target)
            and wanted.label in (None, call.label)
            and wanted.key in (None, call.key)
            and wanted.mode in (None, call.mode)
            and _is_mode_compatible(self.spec.fault, call)
        )


def _is_mode_compatible(name: str, call: SandboxCall) -> bool:
    """A refusal of async mode never meets a sync run."""
    return name != "ASYNC_NOT_SUPPORTED" or call.mode == "async"


class FaultQueue:
    """The faults in force, oldest first; the first that strikes is the one that is played."""

    def __init__(self) -> None:
        self.queued: list[QueuedFault] = []
        self._ids = itertools.count(1)

    def add(self, spec: AdminFault) -> QueuedFault:
        """Put up a fault.

        Raises:
            FaultError: it cannot be played, or not on the route asked for.
        """
        check_fault(spec, spec.match.route)
        fault = resolve_fault(spec, "model", "any")
        entry = QueuedFault(next(self._ids), spec, fault.default_routes)
        self.queued.append(entry)
        return entry

    def remove(self, fault_id: int | None = None) -> int:
        """Take down one fault, or all; return how many."""
        before = len(self.queued)
        self.queued = [p for p in self.queued if fault_id is not None and p.id != fault_id]
        return before - len(self.queued)

    def take(self, call: SandboxCall) -> SandboxFault | None:
        """Return the fault that strikes `call`, counting the hit."""
        for entry in self.queued:
            if entry.matches(call):
                entry.hits += 1
                return resolve_fault(entry.spec, call.kind or "model", call.target)
        return None
