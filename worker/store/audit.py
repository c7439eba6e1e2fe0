"""The audit log of operator actions: an append-only stream, which nothing trims."""

import dataclasses
import math
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from redis.exceptions import RedisError

from worker.store.audit_chain import AuditChain
from worker.store.client import BadCursor, Client
from worker.store.commit import Change
from worker.store.events import entry_id_parts
from worker.store.keys import Keys
from worker.store.refusals import error_word
from worker.store.scripts import Scripts
from worker.store.side_writes import NewAuditEntry

log: Final = structlog.get_logger(__name__)

MAX_UNWRITTEN_ENTRIES: Final = 1_000
"""Entries of done actions that are kept in memory while Redis takes no writes, the newest."""

CHUNK: Final = 500
"""Entries read at a time while a page is filtered."""

MAX_SCANNED_ENTRIES: Final = 5_000
"""Entries that one page reads at most; then it returns what it has, and a cursor."""


@dataclass(frozen=True, slots=True)
class AuditEntry(NewAuditEntry):
    """An entry as it is read, with its id in the stream."""

    id: str = ""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries a page shows. Times in Unix seconds."""

    by: str | None = None
    action: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, entry: AuditEntry) -> bool:
        """Whether an entry has the wanted operator and action; ids of the stream bound the time."""
        return self.by in (None, entry.by) and self.action in (None, entry.action)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, newest first, and the cursor of the next page."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None


class AuditLog:
    """The audit log of one namespace."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._unwritten: deque[NewAuditEntry] = deque(maxlen=MAX_UNWRITTEN_ENTRIES)

    async def record(self, entry: NewAuditEntry) -> None:
        """Append the entry of an action that is done; never raises what Redis raises.

        An entry that Redis refuses is logged whole, kept in memory, and appended by
        `write_pending`. If the process is killed before, the log alone has it.
        """
        try:
            await self.append(entry)
        except (RedisError, OSError) as error:
            self._unwritten.append(entry)
            entry_fields = dataclasses.asdict(entry)
            log.error("audit_entry.delayed", error=error_word(error), **entry_fields)  # noqa: TRY400

    async def write_pending(self) -> None:
        """Append the entries that Redis refused; raises `redis.exceptions.RedisError`."""
        while self._unwritten:
            await self.append(self._unwritten[0])
            self._unwritten.popleft()

    async def append(self, entry: NewAuditEntry) -> None:
        """Append an entry; raises `redis.exceptions.RedisError`."""
        await self._scripts.commit(Change(self._keys, "", "").audit(entry))

    async def page(
        self, audit_filter: AuditFilter, limit: int, cursor: str | None = None
    ) -> AuditPage:
        """A page of the matching entries, newest first; raises `BadCursor`.

        A page may be shorter than `limit` and still have a `next_cursor`, as a page of jobs may.
        """
        top, bottom = _id_before(audit_filter.until), _id_from(audit_filter.since)
        if cursor is not None:
            top = f"({_checked_cursor(cursor)}"
        found: list[AuditEntry] = []
        scanned = 0
        while scanned < MAX_SCANNED_ENTRIES:
            rows = await self._read_backwards(top, bottom, CHUNK)
            for entry, fields in rows:
                one = _parse_entry(entry.decode(), fields)
                top = f"({one.id}"
                if audit_filter.matches(one):
                    found.append(one)
                    if len(found) == limit:
                        more = await self._read_backwards(top, bottom, 1)
                        return AuditPage(tuple(found), one.id if more else None)
            if len(rows) < CHUNK:
                return AuditPage(tuple(found), None)
            scanned += len(rows)
        return AuditPage(tuple(found), top[1:])

    @property
    def chain(self) -> AuditChain:
        """What hashes entries."""
        return self._scripts.chain

    async def rows(self) -> AsyncGenerator[dict[str, str]]:
        """Every entry from the oldest on, as it is stored, with its `id`."""
        after = "-"
        while True:
            found: Sequence[tuple[bytes, dict[bytes, bytes]]] = await self._client.call(
                "XRANGE", self._keys.audit, after, "+", "COUNT", CHUNK
            )
            for entry_id, fields in found:
                yield _texts(fields) | {"id": entry_id.decode()}
            if len(found) < CHUNK:
                return
            after = f"({found[-1][0].decode()}"

    async def _read_backwards(
        self, top: str, bottom: str, count: int
    ) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
        rows: Sequence[tuple[bytes, dict[bytes, bytes]]] = await self._client.call(
            "XREVRANGE", self._keys.audit, top, bottom, "COUNT", count
        )
        return rows


def _parse_entry(entry_id: str, fields: dict[bytes, bytes]) -> AuditEntry:
    """An entry; of one that another program wrote, what can be read."""
    texts = _texts(fields)
    return AuditEntry(
        id=entry_id,
        at=_number(texts.get("at"), entry_id_parts(entry_id)[0] / 1_000),
        by=texts.get("by", ""),
        action=texts.get("act", ""),
        on=texts.get("on", ""),
        note=texts.get("note", ""),
        jobs=int(_number(texts.get("jobs"), 0.0)),
        changed=texts.get("changed", ""),
    )


def _texts(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in fields.items()
    }


def _number(text: str | None, default: float) -> float:
    try:
        found = float(text or "")
    except ValueError:
        return default
    return found if math.isfinite(found) else default


def _id_from(moment: float | None) -> str:
    return "-" if moment is None else str(max(0, round(moment * 1_000)))


def _id_before(moment: float | None) -> str:
    return "+" if moment is None else f"({max(1, round(moment * 1_000))}-0"


def _checked_cursor(cursor: str) -> str:
    try:
        entry_id_parts(cursor)
    except ValueError:
        raise BadCursor from None
    return cursor
