"""Server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

END_STATES = frozenset({"succeeded", "dead", "cancelled", "parked"})
"""The states that end a wait: settled, or parked until an operator acts."""


@dataclass(frozen=True)
class Event:
    """One event of `GET /v1/events`."""

    name: str
    """`job`, `breaker`, `budget`, `balance`, `reset` or `end`."""
    data: dict[str, Any]

    def ends_wait_for(self, job_id: str) -> bool:
        """Whether the job is to be read again: it ended, or events are missing."""
        if self.name != "job":
            return self.name == "reset"
        return self.data.get("id") == job_id and self.data.get("to") in END_STATES


class EventParser:
    """Puts lines together to events, and remembers the last id."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._name = ""
        self._data: list[str] = []

    def feed(self, line: str) -> Event | None:
        """Take one line without its end; the event that it completes."""
        if not line:
            name, data = self._name or "message", "\n".join(self._data)
            self._name, self._data = "", []
            return Event(name, json.loads(data)) if data else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            self.last_id = value
        return None
