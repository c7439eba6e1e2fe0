"""Faults put up by admin calls: which call they strike, and how often still."""

import itertools
from dataclasses import dataclass

from worker.sandbox.faults.catalogue import Fault, check, resolve
from worker.sandbox.faults.options import AdminFault, Route


@dataclass(frozen=True, slots=True)
class Call:
    """What a fault can be matched against; kind, target and mode are empty where none is known."""

    route: Route
    key: str = ""
    kind: str = ""
    target: str = ""
    label: str = ""
    mode: str = ""


@dataclass(slots=True)
class Posted:
    """A fault in force and how often it has struck."""

    id: int
    spec: AdminFault
    home: frozenset[Route]
    hits: int = 0

    def strikes(self, call: Call) -> bool:
        """Tell whether this fault is for `call` and not spent."""
        spent = self.spec.times is not None and self.hits >= self.spec.times
        wanted = self.spec.match
        routed = call.route in self.home if wanted.route is None else call.route == wanted.route
        return (
            not spent
            and routed
            and wanted.kind in (None, call.kind)
            and wanted.target in (None, call.target)
            and wanted.label in (None, call.label)
            and wanted.key in (None, call.key)
            and wanted.mode in (None, call.mode)
            and _fits(self.spec.fault, call)
        )


def _fits(name: str, call: Call) -> bool:
    """A refusal of async mode never meets a sync run."""
    return name != "ASYNC_NOT_SUPPORTED" or call.mode == "async"


class FaultBook:
    """The faults in force, oldest first; the first that strikes is the one that is played."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self._ids = itertools.count(1)

    def post(self, spec: AdminFault) -> Posted:
        """Put up a fault.

        Raises:
            FaultError: it cannot be played, or not on the route asked for.
        """
        check(spec, spec.match.route)
        fault = resolve(spec, "model", "any")
        entry = Posted(next(self._ids), spec, fault.home)
        self.posted.append(entry)
        return entry

    def clear(self, fault_id: int | None = None) -> int:
        """Take down one fault, or all; return how many."""
        before = len(self.posted)
        self.posted = [p for p in self.posted if fault_id is not None and p.id != fault_id]
        return before - len(self.posted)

    def draw(self, call: Call) -> Fault | None:
        """Return the fault that strikes `call`, counting the hit."""
        for entry in self.posted:
            if entry.strikes(call):
                entry.hits += 1
                return resolve(entry.spec, call.kind or "model", call.target)
        return None
