"""What is known of an uncertain submit, as a response."""

from typing import Annotated

from msgspec import Meta

from jobs.evidence.records import EvidenceFinding
from jobs.usage import UsageRow
from worker.api.models.response import ResponseModel, Time, optional_rfc3339, rfc3339
from worker.app.queries import UncertainEvidence
from worker.store.webhooks import Orphan


class OrphanExecutionResponse(ResponseModel):
    """A run that webhooks reported and that belongs to no job."""

    execution_id: str
    event: str
    received_at: Time
    status: str | None
    cost: float | None


class UsageRowResponse(ResponseModel):
    """A run in the provider's list of runs."""

    id: int
    status: str
    targets: tuple[str, ...]
    credits: float | None
    duration_s: float | None
    code: str | None
    request_id: str | None
    created_at: Annotated[Time | None, Meta(description="by the provider's clock")]
    execution_id: Annotated[
        str | None,
        Meta(description="where a webhook reported a run with its request id: attach this one"),
    ]


class EvidenceResponse(ResponseModel):
    """What is known of an uncertain submit."""

    finding: Annotated[
        EvidenceFinding | None,
        Meta(description="what the provider's list of runs says; null where it is not read"),
    ]
    is_final: Annotated[bool, Meta(description="whether only a new row can change the finding")]
    note: Annotated[str, Meta(description="why it is pending, unknown or ambiguous")]
    rows: Annotated[list[UsageRowResponse], Meta(description="rows that may be its run")]
    checked_at: Annotated[Time | None, Meta(description="when the list was last read for it")]
    next_check_at: Time | None

    sent_at: Time | None
    ended_at: Time | None
    http_status: int | None
    message: str
    executions: Annotated[
        list[OrphanExecutionResponse],
        Meta(
            description="runs of the same target that webhooks reported after the submit and that"
            " belong to no job: check one, then resolve the job with its `execution_id`"
        ),
    ]


def evidence_response(evidence: UncertainEvidence) -> EvidenceResponse:
    """What is known of an uncertain submit."""
    submit = evidence.submit
    rows = submit.rows if submit is not None else ()
    return EvidenceResponse(
        finding=None if submit is None else submit.finding,
        is_final=submit is not None and submit.is_final,
        note="" if submit is None else submit.note,
        rows=[_usage_row(row, evidence.execution_of(row.request_id)) for row in rows],
        checked_at=None if submit is None else optional_rfc3339(submit.checked_at),
        next_check_at=None if submit is None else optional_rfc3339(submit.check_at),
        sent_at=optional_rfc3339(evidence.sent_at),
        ended_at=optional_rfc3339(evidence.ended_at),
        http_status=evidence.http_status,
        message=evidence.message,
        executions=[_orphan(orphan) for orphan in evidence.executions],
    )


def _usage_row(row: UsageRow, execution_id: str | None) -> UsageRowResponse:
    return UsageRowResponse(
        id=row.id,
        status=row.status,
        targets=row.targets,
        credits=row.credits,
        duration_s=row.duration_s,
        code=row.code,
        request_id=row.request_id,
        created_at=optional_rfc3339(row.created_at),
        execution_id=execution_id,
    )


def _orphan(orphan: Orphan) -> OrphanExecutionResponse:
    return OrphanExecutionResponse(
        execution_id=orphan.execution_id,
        event=orphan.event,
        received_at=rfc3339(orphan.received_at),
        status=orphan.status,
        cost=orphan.cost,
    )
