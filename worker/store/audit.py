"""The record of what people did: an append-only stream, which nothing trims."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.store.client import Client
from worker.store.events import entry_id_parts
from worker.store.keys import Keys

CHUNK: Final = 500
"""Lines read at a time while a page is filtered."""

MAX_SCANNED_ENTRIES: Final = 5_000
"""Lines a page looks at before it answers with what it has and a cursor."""


class BadAuditCursor(ValueError):
    """The cursor is not one that a page of the audit gave out."""

    def __init__(self) -> None:
        super().__init__("cursor is not one this list gave out; leave it away to start at the top")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act: who, when, what, on what, with which note, and how many jobs it touched."""

    id: str
    at: float
    by: str
    action: str
    on: str
    """A job, a scope, an address, or the filter of an act on many jobs as JSON."""
    note: str
    jobs: int


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines a page shows. Times in Unix seconds."""

    by: str | None = None
    action: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, entry: AuditEntry) -> bool:
        """Whether a line is wanted; its time is told by the stream's ids."""
        return self.by in (None, entry.by) and self.action in (None, entry.action)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some lines, newest first, and where to go on."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None


class AuditLog:
    """Acts of people."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def record(
        self, *, at: float, by: str, action: str, on: str, note: str, jobs: int
    ) -> None:
        """Append one act."""
        facts = ("at", at, "by", by, "act", action, "on", on, "note", note, "jobs", jobs)
        await self._client.call("XADD", self._keys.audit, "*", *facts)

    async def latest(self, limit: int) -> list[dict[str, Any]]:
        """The latest acts, newest first."""
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            | {"id": entry.decode()}
            for entry, fields in await self._read_backwards("+", "-", limit)
        ]

    async def page(
        self, audit_filter: AuditFilter, limit: int, cursor: str | None = None
    ) -> AuditPage:
        """A page of the lines that are wanted, newest first; raises `BadAuditCursor`.

        A page may be shorter than `limit` and still have a `next_cursor`, as those of jobs.
        """
        top, bottom = _id_before(audit_filter.until), _id_from(audit_filter.since)
        if cursor is not None:
            top = f"({_checked_cursor(cursor)}"
        found: list[AuditEntry] = []
        looked = 0
        while looked < MAX_SCANNED_ENTRIES:
            rows = await self._read_backwards(top, bottom, CHUNK)
            for entry, fields in rows:
                line = _parse_entry(entry.decode(), fields)
                top = f"({line.id}"
                if audit_filter.matches(line):
                    found.append(line)
                    if len(found) == limit:
                        more = await self._read_backwards(top, bottom, 1)
                        return AuditPage(tuple(found), line.id if more else None)
            if len(rows) < CHUNK:
                return AuditPage(tuple(found), None)
            looked += len(rows)
        return AuditPage(tuple(found), top[1:])

    async def _read_backwards(
        self, top: str, bottom: str, count: int
    ) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
        rows: Sequence[tuple[bytes, dict[bytes, bytes]]] = await self._client.call(
            "XREVRANGE", self._keys.audit, top, bottom, "COUNT", count
        )
        return rows


def _parse_entry(entry_id: str, fields: dict[bytes, bytes]) -> AuditEntry:
    """A line as it can be read: one that somebody else wrote shows what there is of it."""
    texts = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in fields.items()
    }
    return AuditEntry(
        id=entry_id,
        at=_number(texts.get("at"), entry_id_parts(entry_id)[0] / 1_000),
        by=texts.get("by", ""),
        action=texts.get("act", ""),
        on=texts.get("on", ""),
        note=texts.get("note", ""),
        jobs=int(_number(texts.get("jobs"), 0.0)),
    )


def _number(text: str | None, otherwise: float) -> float:
    try:
        return float(text or "")
    except ValueError:
        return otherwise


def _id_from(moment: float | None) -> str:
    return "-" if moment is None else str(max(0, round(moment * 1_000)))


def _id_before(moment: float | None) -> str:
    return "+" if moment is None else f"({max(1, round(moment * 1_000))}-0"


def _checked_cursor(cursor: str) -> str:
    try:
        entry_id_parts(cursor)
    except ValueError:
        raise BadAuditCursor from None
    return cursor
