"""The rows of `GET /api/usage`, read tolerantly: a member of another type counts as absent.

Here `creditsCost` is in credits, and `cost` and `userCost` are dollars, which nobody needs.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Raw

from jobs.outcomes import CallFailure
from jobs.states import Kind
from jobs.usage import UsageRow
from worker.provider.knouds import fields, wire
from worker.provider.knouds.run_statuses import UNKNOWN_STATUS, normalize_status
from worker.provider.port import UsagePage

MAX_ROWS: Final = 5_000
"""Rows of a page that are read; the provider sends at most 500."""

MAX_TARGETS: Final = 50

_SOURCES: Final[Mapping[str, Kind]] = {"api-slim": Kind.MODEL, "api-workflow": Kind.WORKFLOW}
_ABSENT: Final = Raw()
_MS_PER_S: Final = 1_000.0


class _Page(msgspec.Struct, frozen=True, gc=False):
    rows: Raw = _ABSENT
    total: Raw = _ABSENT


class _Row(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    id: Raw = _ABSENT
    user_id: Raw = _ABSENT
    workflow_slug: Raw = _ABSENT
    model_ids: Raw = _ABSENT
    status: Raw = _ABSENT
    source: Raw = _ABSENT
    credits_cost: Raw = _ABSENT
    duration_ms: Raw = _ABSENT
    error_code: Raw = _ABSENT
    request_id: Raw = _ABSENT
    created_at: Raw = _ABSENT


_page: Final = msgspec.json.Decoder(_Page)
_rows: Final = msgspec.json.Decoder(list[Raw])
_row: Final = msgspec.json.Decoder(_Row)


def read_usage(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> UsagePage | CallFailure:
    """Read a page; anything but a 2xx with a list of rows is a CallFailure."""
    failure = wire.read_call_failure(status, headers, body, now)
    if failure is not None:
        return failure
    page = fields.decode(_page, body)
    found = None if page is None else fields.decode(_rows, page.rows)
    if page is None or found is None or len(found) > MAX_ROWS:
        return CallFailure("the response is no page of usage rows", status)
    rows = [row for raw in found if (row := _read_row(raw)) is not None]
    total = fields.read_number(page.total)
    return UsagePage(
        rows=tuple(rows),
        total=None if total is None else int(total),
        is_complete=len(rows) == len(found),
    )


def _read_row(raw: Raw) -> UsageRow | None:
    """Read a row; None without a usable id, which tells rows apart."""
    members = fields.decode(_row, raw)
    number = None if members is None else fields.read_number(members.id)
    if members is None or number is None or number != int(number):
        return None
    slug = fields.read_text(members.workflow_slug)
    kind = _SOURCES.get(fields.read_code(members.source) or "")
    models = fields.read_texts(members.model_ids) or ()
    is_workflow = kind is Kind.WORKFLOW or (kind is None and slug is not None)
    duration_ms = fields.read_number(members.duration_ms)
    return UsageRow(
        id=int(number),
        user_id=fields.read_id(members.user_id),
        kind=kind,
        targets=((slug,) if slug else ()) if is_workflow else models[:MAX_TARGETS],
        status=normalize_status(fields.read_text(members.status) or UNKNOWN_STATUS),
        credits=fields.read_number(members.credits_cost),
        duration_s=None if duration_ms is None else duration_ms / _MS_PER_S,
        code=fields.read_code(members.error_code),
        request_id=fields.read_id(members.request_id),
        created_at=_read_time(fields.read_text(members.created_at)),
    )


def _read_time(text: str | None) -> float | None:
    """Read an RFC 3339 time as Unix seconds; one without an offset is UTC."""
    try:
        moment = datetime.fromisoformat(text or "")
        unix_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return unix_s if math.isfinite(unix_s) else None
