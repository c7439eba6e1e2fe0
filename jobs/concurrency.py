"""How many jobs of a lane may be submitting or running at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.lanes import Lane


@dataclass(frozen=True, slots=True)
class LaneCaps:
    """Caps by scope: the narrowest that covers a lane counts, `*` covers every lane."""

    by_scope: Mapping[str, int] = field(default_factory=dict[str, int])

    def of(self, lane: Lane) -> int | None:
        """The cap of one lane; None where there is none."""
        for scope in (*reversed(lane.scopes), "*"):
            if scope in self.by_scope:
                return self.by_scope[scope]
        return None
