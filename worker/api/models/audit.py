"""The response that shows the audit log."""

from typing import Annotated

import msgspec
from msgspec import Meta

from worker.api.models.response import RawJson, ResponseModel, Time, rfc3339
from worker.store.audit import AuditEntry
from worker.store.codec import DECODE_ERRORS, decode


class AuditEntryResponse(ResponseModel):
    """One action of an operator."""

    id: str
    at: Time
    by: str
    act: Annotated[str, Meta(description="as release, bulk_requeue, hold, login, login_failed")]
    on: Annotated[str, Meta(description="a job, a scope, a filter as JSON, or an address")]
    note: str
    jobs: Annotated[int, Meta(description="how many jobs it changed")]
    changed: Annotated[
        RawJson | None,
        Meta(
            extra_json_schema={"type": ["object", "null"]},
            description="where inputs were changed: the `paths`, and with KNOUDS_PAYLOAD_KEYS a"
            " keyed `digest` of the new inputs or the patch; no values",
        ),
    ]


class AuditPageResponse(ResponseModel):
    """Actions of operators, newest first. A page can be short and still have a next one."""

    items: list[AuditEntryResponse]
    next_cursor: str | None


def audit_entry_response(entry: AuditEntry) -> AuditEntryResponse:
    """One action of an operator."""
    return AuditEntryResponse(
        id=entry.id,
        at=rfc3339(entry.at),
        by=entry.by,
        act=entry.action,
        on=entry.on,
        note=entry.note,
        jobs=entry.jobs,
        changed=_json_or_none(entry.changed),
    )


def _json_or_none(text: str) -> RawJson | None:
    """JSON text; None for another text, which only another program writes."""
    try:
        decode(text)
    except DECODE_ERRORS:
        return None
    return msgspec.Raw(text.encode())
