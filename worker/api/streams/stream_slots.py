"""How many long-lived responses there may be: of one token, and in all, with a share for operators.

Each holds a connection, and costs something with every event. One token must not take them from
everybody, least of all from those who have to act.
"""

import contextlib
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from worker.api.auth.principal import Principal
from worker.api.edge.connection_table import ConnectionLimits
from worker.api.problems import Problem

MAX_EVENT_STREAMS: Final = 200
MAX_LONG_POLLS: Final = 400
RETRY_AFTER_S: Final = 2


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many at once."""

    total: int
    per_token: int
    reserved_for_operators: int
    """Of the total, those that only tokens of the role `operate` get."""

    @classmethod
    def of(cls, total: int) -> "StreamLimits":
        """A quarter of the total for one token, and a quarter reserved for operators."""
        quarter = total // 4
        return cls(total, max(1, quarter), quarter)

    def of_token(self, principal: Principal) -> int:
        """How many the token of a principal may have: one of operators, who may share it, more."""
        return self.total - self.reserved_for_operators if principal.may_operate else self.per_token


class StreamSlots:
    """The long-lived responses of one kind."""

    def __init__(self, kind: str, instead: str, limits: StreamLimits) -> None:
        self.limits = limits
        self._kind = kind
        self._instead = instead
        self._held_by: Counter[str] = Counter()
        self._held = 0

    @classmethod
    def for_events(cls) -> "StreamSlots":
        """For `GET /v1/events`: a quarter of the connections of this process at most."""
        total = min(MAX_EVENT_STREAMS, ConnectionLimits.of_this_process().total // 4)
        return cls("event streams", "poll GET /v1/stats", StreamLimits.of(total))

    @classmethod
    def for_long_polls(cls) -> "StreamSlots":
        """For `GET /v1/jobs/{id}/wait`: half of the connections of this process at most."""
        total = min(MAX_LONG_POLLS, ConnectionLimits.of_this_process().total // 2)
        return cls("long polls", "listen to GET /v1/events", StreamLimits.of(total))

    @contextlib.contextmanager
    def hold(self, principal: Principal) -> Generator[None]:
        """Count one more; raises `Problem` (429)."""
        if self._held_by[principal.name] >= (most := self.limits.of_token(principal)):
            self._refuse(f"this token has {most} {self._kind}, and may not have more")
        reserved = 0 if principal.may_operate else self.limits.reserved_for_operators
        if self._held >= self.limits.total - reserved:
            self._refuse(f"there are {self._held} {self._kind}, and may not be more")
        self._held_by[principal.name] += 1
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._held_by[principal.name] -= 1
            if not self._held_by[principal.name]:
                del self._held_by[principal.name]

    def _refuse(self, what: str) -> None:
        detail = f"{what}: close some, or {self._instead}"
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        raise Problem(429, "too-many-streams", "Too many at once", detail, headers=headers)
