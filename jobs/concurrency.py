"""Concurrency caps: how many jobs of a lane may be active at once (see `jobs.states.ACTIVE`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.lanes import Lane


@dataclass(frozen=True, slots=True)
class LaneCaps:
    """Caps by scope. The narrowest scope that covers a lane applies; `*` covers every lane."""

    by_scope: Mapping[str, int] = field(default_factory=dict[str, int])

    def of(self, lane: Lane) -> int | None:
        """The cap of each lane on its own; None where there is none."""
        for scope in (*reversed(lane.scopes), "*"):
            if scope in self.by_scope:
                return self.by_scope[scope]
        return None
